"""Preprocessing to the network's grid, resampling, and restoring to the scan's grid."""
