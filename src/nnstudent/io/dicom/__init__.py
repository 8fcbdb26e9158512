"""Reads DICOM series as volumes, and writes label maps as DICOM objects."""

from nnstudent.io.dicom.series import Series, read_series

__all__ = ["Series", "read_series"]
