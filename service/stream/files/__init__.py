"""Archives as the source of alerts, files as the sink of answers."""
