"""What the networks learn from: tables, simulation, views, batches, priors, and scores of answers."""
