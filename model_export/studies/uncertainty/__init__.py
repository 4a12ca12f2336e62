"""What stochastic passes, ensembles and set sizes tell of a mistake, beside the plain softmax."""
