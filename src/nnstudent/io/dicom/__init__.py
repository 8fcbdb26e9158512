"""DICOM in and out: series of slices to volumes, label maps to segmentation objects and structure sets."""
