"""Published messages: classifications and dead letters, their Avro schemas and file formats."""
