"""Makes scans small enough for the report to carry them."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from math import prod

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nnstudent.inference.grid.resample import apply_along, neighbors, operator
from nnstudent.inference.picture.plane import WINDOW_HU
from nnstudent.types import Float32Array, LabelArray
from nnstudent.volume import Grid, Shape, Volume

# Per scan. Four scans, however badly they compress, leave the report under 15 MB.
VOXELS = 2_000_000
_FINEST_MM = 1.5  # a screen does not show anything finer


@dataclass(frozen=True)
class SmallScan:
    """A case as the viewer loads it.

    Attributes:
        image: The CT as a gzipped NIfTI file with 8 bits per voxel.
        truth: The true labels, in the same way.
        prediction: The predicted labels, in the same way.
        spacing: Spacing along (x, y, z) in words.
    """

    image: bytes
    truth: bytes
    prediction: bytes
    spacing: str


def downsample_scan(image: Volume, *, truth: Volume, prediction: Volume) -> SmallScan:
    """Make a scan small: coarser, in the window in which abdomens are read, 8 bits per voxel.

    Args:
        image: The CT, in HU.
        truth: The true label map, on the same grid.
        prediction: The predicted label map, on the same grid.
    """
    grid = image.grid.resampled(small_shape(image.grid))
    z, y, x = grid.spacing_mm
    low, high = WINDOW_HU
    gray = (downsample(image.array, grid.shape) - low) * (255 / (high - low))
    return SmallScan(
        image=_packed(
            np.clip(gray, 0, 255).round().astype(np.uint8),
            grid,
            slope=(high - low) / 255,
            intercept=low,
        ),
        truth=_packed(_nearest(truth.array, grid.shape), grid),
        prediction=_packed(_nearest(prediction.array, grid.shape), grid),
        spacing=f"{x:.1f} × {y:.1f} × {z:.1f} mm",
    )


def small_shape(grid: Grid, *, voxels: int = VOXELS) -> Shape:
    """Return the shape of the finest grid over the same box that has at most ``voxels`` voxels.

    Args:
        grid: The scan's own grid.
        voxels: The budget.

    Returns:
        Voxels along (z, y, x), about equally fine along each axis and never finer than the scan.
    """
    extents = [count * mm for count, mm in zip(grid.shape, grid.spacing_mm, strict=True)]
    spacing = _FINEST_MM
    while True:
        z, y, x = (
            max(1, min(count, round(extent / spacing)))
            for count, extent in zip(grid.shape, extents, strict=True)
        )
        if prod((z, y, x)) <= voxels:
            return z, y, x
        spacing *= 1.01


def downsample(array: npt.NDArray[np.generic], shape: Shape) -> Float32Array:
    """Return local means of a (z, y, x) array on a coarser grid that fills the same box."""
    result = array.astype(np.float32)
    for axis, (old, new) in enumerate(zip(array.shape, shape, strict=True)):
        width = max(1, round(old / new))
        smooth = ndimage.uniform_filter1d(result, width, axis=axis, mode="nearest")
        result = apply_along(operator(old, new, 1), smooth, axis)
    return result


def _nearest(labels: LabelArray, shape: Shape) -> LabelArray:
    axes = zip(labels.shape, shape, strict=True)
    return labels[np.ix_(*(neighbors(old, new, 0)[0] for old, new in axes))]


def _packed(array: LabelArray, grid: Grid, *, slope: float = 1.0, intercept: float = 0.0) -> bytes:
    """Return a gzipped NIfTI file."""
    image = nib.Nifti1Image(array.T, grid.affine)
    image.header.set_slope_inter(slope, intercept)
    image.header.set_xyzt_units("mm")
    image.header["cal_min"], image.header["cal_max"] = intercept, intercept + 255 * slope
    file: bytes = image.to_bytes()
    return gzip.compress(file, 9, mtime=0)
