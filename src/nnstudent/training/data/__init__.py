"""A task's cases on disk and in memory."""
