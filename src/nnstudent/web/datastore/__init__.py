"""A folder of scans that several people correct, and the model that learns from them."""
