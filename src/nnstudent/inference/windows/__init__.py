"""Where the windows of a scan lie, and in which order the network sees them."""
