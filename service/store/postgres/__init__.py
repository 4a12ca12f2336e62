"""The shared store: PostgreSQL, for several replicas."""
