"""Training data: tables, simulation, views, batches, priors; and scores."""
