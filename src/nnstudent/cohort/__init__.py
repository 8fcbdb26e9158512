"""Which scans there are, and which classes each has annotated."""
