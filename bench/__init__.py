"""Benchmarks: each figure of the documentation is the output of one of these modules. README.md lists them."""
