"""Benchmarks: each a function that returns a Report, so that ``genn bench NAME`` prints figures anybody can repeat."""
