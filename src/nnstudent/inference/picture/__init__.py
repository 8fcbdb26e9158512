"""The picture of a segmentation: slices, a 3D view and a legend on one sheet."""
