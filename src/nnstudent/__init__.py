"""nnStudent: semi-supervised segmentation of abdominal CT that runs on a laptop's CPU."""

__version__ = "0.1.0"
