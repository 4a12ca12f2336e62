"""Kafka as the source of alerts and the sink of answers."""
