"""Export of weights to bundles, the folders that the service loads."""
