"""The service: a queue of scans, a process that segments them, and the page that shows them."""
