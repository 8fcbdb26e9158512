"""Measurements of a segmentation that tell how good it is, taken while it is made."""
