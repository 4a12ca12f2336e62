"""Sources, sinks, the corridor between them, and the stream as a service: start reading at `service` and `corridor`."""
