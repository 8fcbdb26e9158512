"""Benchmarks, which give every figure of the documentation; README.md lists them."""
