"""DICOM in and out: series of slices to volumes, label maps to segmentation objects and structure sets."""

from nnstudent.io.dicom.series import Series, read_series

__all__ = ["Series", "read_series"]
