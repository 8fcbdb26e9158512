"""How good a segmentation is expected to be, and how that is calibrated on known truth."""
