"""Studies that are not part of the shipped model, a folder each. The other rooms never import them."""
