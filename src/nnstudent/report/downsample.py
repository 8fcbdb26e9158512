"""Scans made small enough to be carried in the report."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from math import prod

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nnstudent.inference.files.preview import WINDOW_HU
from nnstudent.inference.grid.resample import apply_along, neighbors, operator
from nnstudent.volume import Grid, Shape, Volume

VOXELS = (
    2_000_000  # a scan: four of them, however badly they compress, leave the report under 15 MB
)
_FINEST_MM = 1.5  # what is finer than the screen shows is not kept


@dataclass(frozen=True)
class ReducedScan:
    """A case as the viewer loads it: files of gzipped NIfTI with 8 bits a voxel, and the spacing (x, y, z) in mm as words."""

    image: bytes
    truth: bytes
    prediction: bytes
    spacing: str


def reduce_scan(image: Volume, truth: Volume, prediction: Volume) -> ReducedScan:
    """Make a scan small: coarser, in the window that abdomens are read in, 8 bits a voxel.

    Args:
        image: The CT, in HU.
        truth: Its label map, on the same grid.
        prediction: Another, on the same grid.
    """
    grid = image.grid.resampled(reduced_shape(image.grid))
    z, y, x = grid.spacing_mm
    low, high = WINDOW_HU
    shade = (
        np.clip((coarser(image.array, grid.shape) - low) * (255 / (high - low)), 0, 255)
        .round()
        .astype(np.uint8)
    )
    return ReducedScan(
        image=_packed(shade, grid, slope=(high - low) / 255, intercept=low),
        truth=_packed(_nearest(truth.array, grid.shape), grid),
        prediction=_packed(_nearest(prediction.array, grid.shape), grid),
        spacing=f"{x:.1f} × {y:.1f} × {z:.1f} mm",
    )


def reduced_shape(grid: Grid, *, voxels: int = VOXELS) -> Shape:
    """The finest grid over the same box that the budget allows.

    Args:
        grid: The scan's own grid.
        voxels: The budget.

    Returns:
        Voxels along (z, y, x), about as fine along each axis; no axis gets finer than it was.
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


def coarser(array: npt.NDArray[np.generic], shape: Shape) -> npt.NDArray[np.float32]:
    """Local means of a (z, y, x) array on a coarser grid that fills the same box."""
    result = array.astype(np.float32)
    for axis, (old, new) in enumerate(zip(array.shape, shape, strict=True)):
        smooth = ndimage.uniform_filter1d(
            result, max(1, round(old / new)), axis=axis, mode="nearest"
        )
        result = apply_along(operator(old, new, 1), smooth, axis)
    return result


def _nearest(labels: npt.NDArray[np.uint8], shape: Shape) -> npt.NDArray[np.uint8]:
    return labels[
        np.ix_(*(neighbors(old, new, 0)[0] for old, new in zip(labels.shape, shape, strict=True)))
    ]


def _packed(
    array: npt.NDArray[np.uint8], grid: Grid, *, slope: float = 1.0, intercept: float = 0.0
) -> bytes:
    image = nib.Nifti1Image(array.T, grid.affine)
    image.header.set_slope_inter(slope, intercept)
    image.header.set_xyzt_units("mm")
    image.header["cal_min"], image.header["cal_max"] = intercept, intercept + 255 * slope
    file: bytes = image.to_bytes()
    return gzip.compress(file, 9, mtime=0)
