"""Post-training quantization of deployed files, without TensorFlow."""
