"""MONAI Label's protocol, which the plugins of 3D Slicer, OHIF and MITK speak."""
