"""Sources, sinks, the stages between them, and the stream as a service: start reading at `service` and `runner`."""
