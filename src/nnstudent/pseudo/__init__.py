"""Labels for what has none: the ensemble, fusing truth over pseudo, selection."""
