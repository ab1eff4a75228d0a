"""A grid of networks, trained, quantized and measured on the user's own data."""
