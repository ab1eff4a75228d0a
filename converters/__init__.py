"""Conversion between model formats, checked before and after."""
