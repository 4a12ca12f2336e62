"""What the surroundings of an object say of its class: trees, their fusion with a light curve's answer, one graph."""
