"""The form of each class of a label map: loose pieces, holes, missing slices, and its edge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from nnstudent.taxonomy import Taxonomy
from nnstudent.types import MaskArray
from nnstudent.volume import Volume

_CONNECTED = np.ones((3, 3, 3), bool)


_APART_MM = 30.0  # a loose piece this far away is not a part that a thin bridge would connect
_PIECES, _POINTS = 10, 20_000  # pieces, and voxels of the largest, that are looked at
_REACH = 2  # voxels by which a surface is moved to see whether it fits better there


@dataclass(frozen=True)
class Form:
    """The form of one class in one label map.

    Attributes:
        loose: Share of its voxels outside its largest connected piece; a piece counts by how far
            its middle lies from the largest, fully from 30 mm on.
        holes: Voxels that it encloses, as a share of its own.
        slice_holes: Voxels that it encloses within axial slices, as a share of its own.
        missing: Axial slices without it between the first and the last, as a share of those.
        jump: Largest change of its area from one slice to the next, as a share of its largest area.
        flat: Area of its first or last slice, whichever is larger, as a share of its largest area;
            ends at the border of the image are left out, and 0 if both are.
        misfit: How much less the image changes across its surface than across the best of the
            surfaces up to two voxels inside and outside, as a share; None without an image.
    """

    loose: float
    holes: float
    slice_holes: float
    missing: float
    jump: float
    flat: float
    misfit: float | None = None


def measure_form(
    labels: Volume, *, taxonomy: Taxonomy, image: Volume | None, classes: Iterable[str]
) -> dict[str, Form]:
    """Measure the form of each class that is there.

    Args:
        labels: The label map.
        taxonomy: Its label table.
        image: The image on the same grid; None for none.
        classes: Names of the classes to measure.

    Raises:
        InputError: A class is not in the table.
    """
    labels = labels.reoriented()
    values = None if image is None else image.reoriented().array
    boxes = ndimage.find_objects(labels.array, max_label=max(taxonomy.ids))
    forms = {}
    for name in taxonomy.sorted(classes):
        box = boxes[taxonomy[name].id - 1]
        if box is None:
            continue
        z, y, x = (
            slice(max(0, side.start - _REACH - 1), min(size, side.stop + _REACH + 1))
            for side, size in zip(box, labels.array.shape, strict=True)
        )
        wide = (z, y, x)
        mask = labels.array[wide] == taxonomy[name].id
        cut = (box[0].start == 0, box[0].stop == labels.array.shape[0])
        part = Volume(mask, labels.grid.cropped(wide))
        forms[name] = _form(part, None if values is None else values[wide], cut=cut)
    return forms


def _form(part: Volume, values: npt.NDArray[Any] | None, *, cut: tuple[bool, bool]) -> Form:
    mask: MaskArray = part.array
    voxels = int(np.count_nonzero(mask))
    in_slices = sum(int(np.count_nonzero(ndimage.binary_fill_holes(plane))) for plane in mask)
    enclosed = int(np.count_nonzero(ndimage.binary_fill_holes(mask))) - voxels
    areas = np.count_nonzero(mask, axis=(1, 2))
    used = np.flatnonzero(areas)
    areas = areas[used[0] : used[-1] + 1]
    steps = np.abs(np.diff(areas)) if len(areas) > 1 else np.zeros(1, int)
    ends = [int(area) for area, at_border in zip(areas[[0, -1]], cut, strict=True) if not at_border]
    return Form(
        loose=_loose(part),
        holes=enclosed / voxels,
        slice_holes=in_slices / voxels - 1,
        missing=float(np.mean(areas == 0)),
        jump=float(steps.max() / areas.max()),
        flat=max(ends, default=0) / float(areas.max()),
        misfit=None if values is None else _misfit(mask, values),
    )


def _loose(part: Volume) -> float:
    """The share of loose pieces, weighted by their distance from the largest."""
    pieces, count = ndimage.label(part.array, _CONNECTED)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    main = int(sizes.argmax())
    largest = np.argwhere(pieces == main)
    nearby = cKDTree(largest[:: max(1, len(largest) // _POINTS)] * part.spacing_mm)
    total = 0.0
    for number in np.argsort(-sizes)[1 : _PIECES + 1].tolist():
        if sizes[number]:
            middle = np.argwhere(pieces == number).mean(axis=0) * part.spacing_mm
            total += float(sizes[number]) * min(1.0, float(nearby.query(middle)[0]) / _APART_MM)
    return total / float(sizes.sum())


def _misfit(mask: MaskArray, values: npt.NDArray[Any]) -> float:
    """How much less the image changes across the surface than across the best one near it."""
    clipped = np.clip(values, -200, 300).astype(np.float32)  # bone and gas would decide
    own = _step(mask, clipped)
    best, inner, outer = own, mask, mask
    for _ in range(_REACH):
        inner, outer = ndimage.binary_erosion(inner), ndimage.binary_dilation(outer)
        best = max(best, _step(inner, clipped), _step(outer, clipped))
    return 0.0 if best <= 0 else 1 - own / best


def _step(mask: MaskArray, values: npt.NDArray[np.float32]) -> float:
    """Mean step of the image between the neighbors on both sides of a surface; 0 without one."""
    total, count = 0.0, 0
    for axis in range(3):
        one, other = ((slice(None),) * axis + (part,) for part in (slice(None, -1), slice(1, None)))
        across = mask[one] ^ mask[other]
        total += float(np.abs(values[one][across] - values[other][across]).sum())
        count += int(np.count_nonzero(across))
    return total / count if count else 0.0
