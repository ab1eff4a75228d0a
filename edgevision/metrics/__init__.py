"""Accuracy figures, each with its definition."""
