"""Pseudo-labels: made by teachers or taken from a folder, then selected and fused with the truth."""
