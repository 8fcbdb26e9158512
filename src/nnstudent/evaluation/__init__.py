"""How good a segmentation is, and how to show it."""
