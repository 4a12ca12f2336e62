"""Light curve -> the inputs of a graph, one module per kind; training uses the same code."""
