"""Questions beside the shipped model, a folder each. The other rooms never import them."""
