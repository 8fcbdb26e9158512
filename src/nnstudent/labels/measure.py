"""Volume, density, size and place of each class of a label map."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform

from nnstudent.evaluation.surface import surface_codes, surfel_areas
from nnstudent.inference.checks import ids_at_border
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.types import Float64Array, LabelArray, MaskArray
from nnstudent.volume import Volume

PERCENTILES = (5, 25, 75, 95)
_CONNECTED = np.ones((3, 3, 3), bool)  # voxels that share a corner are one piece


@dataclass(frozen=True)
class Density:
    """The image's values over one class, in HU for CT.

    Attributes:
        mean: Mean.
        sd: Standard deviation of the voxels, not of the mean.
        median: Median.
        percentiles: One for each of :data:`PERCENTILES`.
        lowest: Smallest value.
        highest: Largest value.
    """

    mean: float
    sd: float
    median: float
    percentiles: tuple[float, ...]
    lowest: float
    highest: float


@dataclass(frozen=True)
class Measures:
    """What was measured of one class in one label map.

    Attributes:
        name: The class.
        volume_ml: Volume in ml; 0 if the class is not there, and then all that follows is None.
        voxels: Number of voxels.
        pieces: Connected pieces; voxels that share a corner are connected.
        surface_cm2: Area of the surface in cm², by marching cubes halfway between voxels.
        long_axis_mm: Largest diameter in any axial slice, in mm, from outer edge to outer edge.
        short_axis_mm: Extent perpendicular to it in the same slice, in mm.
        size_mm: Extent of the bounding box towards right, anterior and superior, in mm.
        center_mm: Centroid in world coordinates (RAS+), in mm.
        touches_border: Whether it touches the border of the image, or of its scanned part if the
            image is known, so that it may extend beyond.
        density: The image's values over it; None without an image.
    """

    name: str
    volume_ml: float
    voxels: int = 0
    pieces: int | None = None
    surface_cm2: float | None = None
    long_axis_mm: float | None = None
    short_axis_mm: float | None = None
    size_mm: tuple[float, float, float] | None = None
    center_mm: tuple[float, float, float] | None = None
    touches_border: bool | None = None
    density: Density | None = None


def measure(
    labels: Volume,
    *,
    taxonomy: Taxonomy,
    image: Volume | None = None,
    classes: Iterable[str] | None = None,
) -> tuple[Measures, ...]:
    """Measure each class of a label map.

    Args:
        labels: The label map.
        taxonomy: Its label table.
        image: The image on the same grid, for the densities; None for none.
        classes: Names of the classes to measure; None for all of the table.

    Returns:
        One for each class, in the table's order; classes that are not there have a volume of 0.

    Raises:
        GeometryError: The image is on another grid.
        InputError: A class is not in the table.
    """
    if image is not None:
        image.grid.require(
            labels.grid, what="the label map", advice="measure it beside the image it was made from"
        )
        border = ids_at_border(image, labels.array)
        image = image.reoriented()
    else:
        border = _ids_on_faces(labels.array)
    labels = labels.reoriented()
    wanted = taxonomy.names if classes is None else taxonomy.sorted(classes)
    boxes = ndimage.find_objects(labels.array, max_label=max(taxonomy.ids))
    rows = []
    for item in (taxonomy[name] for name in wanted):
        box = boxes[item.id - 1]
        if box is None:
            rows.append(Measures(item.name, 0.0))
        else:
            part = labels.cropped(box)
            values = None if image is None else image.array[box]
            rows.append(_measure(item, part, values=values, touches=item.id in border))
    return tuple(rows)


def _measure(
    item: LabelClass, part: Volume, *, values: npt.NDArray[Any] | None, touches: bool
) -> Measures:
    mask = part.array == item.id
    voxels = int(np.count_nonzero(mask))
    long_axis, short_axis = _axes(mask, part.spacing_mm[1:])
    size = [n * mm for n, mm in zip(mask.shape, part.spacing_mm, strict=True)]
    return Measures(
        item.name,
        volume_ml=voxels * part.grid.voxel_ml,
        voxels=voxels,
        pieces=int(ndimage.label(mask, _CONNECTED)[1]),
        surface_cm2=float(surfel_areas(part.spacing_mm)[surface_codes(mask)].sum()) / 100.0,
        long_axis_mm=long_axis,
        short_axis_mm=short_axis,
        size_mm=(size[2], size[1], size[0]),
        center_mm=_center(mask, part),
        touches_border=touches,
        density=None if values is None else _density(values[mask]),
    )


def _center(mask: MaskArray, part: Volume) -> tuple[float, float, float]:
    index = np.array(ndimage.center_of_mass(mask)[::-1])
    x, y, z = part.grid.affine[:3, :3] @ index + part.grid.affine[:3, 3]
    return float(x), float(y), float(z)


def _density(values: npt.NDArray[Any]) -> Density:
    values = values.astype(np.float64)
    median, *percentiles = np.percentile(values, (50, *PERCENTILES))
    return Density(
        mean=float(values.mean()),
        sd=float(values.std()),
        median=float(median),
        percentiles=tuple(map(float, percentiles)),
        lowest=float(values.min()),
        highest=float(values.max()),
    )


def _axes(mask: MaskArray, spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """Return the largest axial diameter and the extent perpendicular to it, in mm."""
    longest, shortest = 0.0, 0.0
    for plane in mask:
        # No diameter is longer than the diagonal of the slice's bounding box.
        rows, columns = (np.flatnonzero(plane.any(axis=axis)) for axis in (1, 0))
        if rows.size == 0:
            continue
        extent = (np.ptp(rows) + 1) * spacing_mm[0], (np.ptp(columns) + 1) * spacing_mm[1]
        if np.hypot(*extent) <= longest:
            continue
        points = _hull(plane, spacing_mm)
        lengths = squareform(pdist(points))
        one, other = np.unravel_index(lengths.argmax(), lengths.shape)
        if lengths[one, other] > longest:
            longest = float(lengths[one, other])
            along = (points[other] - points[one]) / longest
            shortest = float(np.ptp(points @ np.array([-along[1], along[0]])))
    return longest, shortest


def _hull(plane: MaskArray, spacing_mm: tuple[float, float]) -> Float64Array:
    """Return the corners of the convex hull of a slice's outline, (n, 2), in mm.

    The outline runs halfway between the pixels inside and those outside.
    """
    edge = plane & ~ndimage.binary_erosion(plane)
    pixels = np.argwhere(edge).astype(np.float64)
    steps = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])
    points: Float64Array = (pixels[:, None] + steps).reshape(-1, 2) * spacing_mm
    corners: Float64Array = points[ConvexHull(points).vertices]
    return corners


def _ids_on_faces(labels: LabelArray) -> frozenset[int]:
    """Return the labels on the six faces of the array."""
    found: set[int] = set()
    for axis in range(3):
        for end in (0, -1):
            found.update(np.unique(np.take(labels, end, axis=axis)).tolist())
    return frozenset(found - {0})
