"""Pseudo-labels: predicted or taken from a folder, then selected and fused with the truth."""
