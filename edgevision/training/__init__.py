"""Transfer learning in TensorFlow."""
