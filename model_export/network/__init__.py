"""The networks: encoder, stochastic forms, prediction."""
