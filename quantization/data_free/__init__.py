"""Quantization from no images at all: what batch normalization knows of the activations."""
