"""Cohorts: which scans there are, and which classes are annotated in each."""
