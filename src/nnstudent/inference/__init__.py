"""From an image to a label map on the same grid."""
