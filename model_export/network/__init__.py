"""The networks: the encoder, its stochastic forms, and what they answer."""
