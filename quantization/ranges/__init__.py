"""Ways to choose the range of an activation from how its values are distributed."""
