"""Evaluation of segmentations: scores, detected lesions, statistics, comparison of methods."""
