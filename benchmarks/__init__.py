"""Profiling and benchmarking of networks and deployed files."""
