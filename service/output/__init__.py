"""What is published: documents, their Avro schemas, and the forms in which they are kept."""
