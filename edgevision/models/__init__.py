"""Architectures, written once against ``Net`` and read as Keras models or as shape-only graphs."""
