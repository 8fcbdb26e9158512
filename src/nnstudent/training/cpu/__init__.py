"""Making a training step fast on a processor."""
