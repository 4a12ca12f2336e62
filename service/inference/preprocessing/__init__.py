"""Light curve -> the inputs of a graph, one module a kind; the code that training uses too."""
