"""Inference from Python, without TensorFlow."""
