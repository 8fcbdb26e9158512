"""Preprocessing to the network's grid and intensities, as nnU-Net's DefaultPreprocessor does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import scipy

from nnstudent.bundle.spec import NetworkSpec, Normalization
from nnstudent.errors import GeometryError
from nnstudent.inference.grid.resample import as_floats, new_shape, resample
from nnstudent.types import Float32Array, Item
from nnstudent.volume import Box, Grid, Shape, Spacing, Volume

MAX_VOXELS = 2**31


@dataclass(frozen=True)
class Frame:
    """The position of a network's grid in an image, which is all that restoring needs.

    Attributes:
        grid: The image's grid.
        axcodes: Orientation that the image was brought to, or None if it was taken as stored.
        transpose: The network's axes as indices into (z, y, x) of the reoriented image.
        box: The part of the image that was cropped out, in the network's axes.
        spacing_mm: Spacing of the image, in the network's axes.
        shape: Shape of the network's grid, in voxels.
    """

    grid: Grid
    axcodes: str | None
    transpose: tuple[int, int, int]
    box: Box
    spacing_mm: Spacing
    shape: Shape

    def view(self, array: npt.NDArray[Item]) -> npt.NDArray[Item]:
        """A view of an array on the image's grid, in the network's axes and cropped."""
        volume = Volume(array, self.grid)
        turned = volume.reoriented(self.axcodes).array if self.axcodes is not None else array
        return turned.transpose(self.transpose)[self.box]


def preprocess(image: Volume, spec: NetworkSpec) -> tuple[Float32Array, Frame]:
    """Reorient, crop, normalize and resample an image for a network.

    Args:
        image: The image, in HU for CT.
        spec: The network.

    Returns:
        Values on the network's grid, in the network's axes, and how that grid lies in the image.

    Raises:
        GeometryError: The network's grid would have more than :data:`MAX_VOXELS` voxels.
    """
    axcodes = None if spec.orientation == "stored" else spec.orientation
    turned = image if axcodes is None else image.reoriented(axcodes)
    array = turned.array.transpose(spec.transpose)
    # NIfTI headers hold spacing as float32; other rounding can lead to another shape.
    mm = [float(np.float32(turned.spacing_mm[axis])) for axis in spec.transpose]
    spacing = (mm[0], mm[1], mm[2])
    box = nonzero_box(array)
    cropped = array[box]
    shape = new_shape(cropped.shape, spacing, spec.spacing_mm)
    if float(np.prod(shape, dtype=np.float64)) > MAX_VOXELS:
        raise GeometryError(
            f"an image of {image.grid} would be {shape} voxels at the network's "
            f"{spec.spacing_mm} mm; crop it first"
        )
    normal = partial(normalize, how=spec.normalization)
    by_voxel = spec.normalization.scheme in ("ct", "none")  # needs no statistics of the image
    values, prepare = (cropped, normal) if by_voxel else (normal(cropped), as_floats)
    resampled = resample(
        values,
        shape,
        spec.image_resampling,
        spacing=spacing,
        target=spec.spacing_mm,
        prepare=prepare,
    )
    return resampled, Frame(image.grid, axcodes, spec.transpose, box, spacing, shape)


def nonzero_box(array: npt.NDArray[np.generic]) -> Box:
    """The smallest box that holds all nonzero voxels; the whole array if there are none."""
    found: list[slice] = []
    for axis, size in enumerate(array.shape):
        planes = np.moveaxis(array, axis, 0)
        first = next((k for k in range(size) if planes[k].any()), None)
        if first is None:
            return slice(0, array.shape[0]), slice(0, array.shape[1]), slice(0, array.shape[2])
        last = next(k for k in reversed(range(size)) if planes[k].any())
        found.append(slice(first, last + 1))
    return found[0], found[1], found[2]


def normalize(array: npt.NDArray[np.generic], how: Normalization) -> Float32Array:
    """Intensities in the network's range, as a new float32 array."""
    values: Float32Array = np.array(array, np.float32, order="C")
    if how.scheme == "ct":
        np.clip(values, how.lower, how.upper, out=values)
        values -= np.float32(how.mean)
        values /= np.float32(max(how.std, 1e-8))
    elif how.scheme == "zscore" and how.within_mask:
        inside = scipy.ndimage.binary_fill_holes(array != 0)
        known = values[inside]
        mean, std = known.mean(), max(known.std(), 1e-8)
        del known
        np.subtract(values, mean, out=values, where=inside)
        np.divide(values, std, out=values, where=inside)
    elif how.scheme == "zscore":
        mean, std = values.mean(), values.std()
        values -= mean
        values /= max(std, 1e-8)
    elif how.scheme == "rescale":
        values -= values.min()
        values /= max(values.max(), 1e-8)
    return values
