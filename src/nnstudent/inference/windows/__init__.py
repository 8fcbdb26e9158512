"""Planning and running the windows of a scan, and averaging their logits."""
