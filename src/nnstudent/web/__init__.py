"""The service: a queue of scans, a worker process that segments them, and the page."""
