"""Files to volumes and back."""
