"""Augmentations that add what a cohort lacks, such as lesions that nobody annotated."""
