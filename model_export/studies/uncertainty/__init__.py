"""How well stochastic passes, ensembles and set sizes detect mistakes, compared with the plain softmax."""
