"""Where the windows of a scan lie, in which order they run, and the mean of their logits."""
