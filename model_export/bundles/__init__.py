"""From weights to the folder that the service loads."""
