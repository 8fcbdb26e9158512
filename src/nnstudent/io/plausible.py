"""Warns if an image is unlikely to be a CT of a person in HU."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError
from nnstudent.volume import Grid, Volume

_SAMPLES = 1_000_000
_APART_MM = 10.0  # Adrenal glands and half the pancreas fit between planes farther apart.
_FINE_MM = 0.2
_WIDE_MM = 1000.0  # The widest gantries reconstruct 800 mm.
_LONG_MM = 2300.0
_FEW = 64  # different values; a CT has hundreds, and ids of more classes are refused elsewhere


def image_warnings(image: Volume) -> tuple[str, ...]:
    """Return what readers of results for this image should know, one line each.

    Args:
        image: The image as it was read.

    Returns:
        What was guessed when the image was read; then what in its values and geometry is unlikely
        for a CT in HU.
    """
    return (*image.warnings, *_values(image.array), *geometry_warnings(image.grid))


def require_ct(image: Volume) -> None:
    """Refuse voxels that cannot be those of a CT, such as a label map given in its place.

    Raises:
        InputError: All voxels are equal, or it is a label map.
    """
    low, high = float(image.array.min()), float(image.array.max())
    if low == high:
        raise InputError(f"every voxel is {low:g}; expected a CT")
    if is_label_map(image.array):
        raise InputError(
            f"holds whole numbers from 0 to {high:g} only: a label map; expected a CT in HU"
        )


def is_label_map(array: npt.NDArray[Any]) -> bool:
    """Whether an array holds a few different whole numbers from 0 on, as only label maps do."""
    sample = _sample(array)
    if not _few_whole(sample):
        return False
    return all(_few_whole(plane) for plane in array) and int(array.min()) == 0 < int(array.max())


def _few_whole(values: npt.NDArray[Any]) -> bool:
    if float(values.min()) < 0 or float(values.max()) > 255:
        return False
    different = np.unique(values)
    return len(different) <= _FEW and bool((different == np.round(different)).all())


def _sample(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.ravel()[:: max(1, array.size // _SAMPLES)]


def _values(array: npt.NDArray[Any]) -> tuple[str, ...]:
    sample = _sample(array)
    low, high = (float(v) for v in np.percentile(sample, (0.1, 99.9)))
    body = sample[sample > -300]
    densest = float(np.mean(body > 700)) if len(body) else 0.0
    lowest = sample.min()
    # A CT of a body holds fat or air (below -50 HU) and enhanced vessels or bone (above 100 HU). At
    # most 2 % of a real one is denser than 700 HU, and a fifth of a head; but over a third of a CT
    # that lacks its intercept and has padding as low as air should be.
    if low > -50 or not 100 < high < 20000 or densest > 0.3:
        why = "; MR, scaled values, or CT without its rescale intercept" if low > -50 else ""
        return (
            f"does not look like CT in HU (range {array.min():g} to {array.max():g}{why}); "
            "do not rely on the result",
        )
    if low > -150 or (lowest > -700 and float(np.mean(sample == lowest)) > 0.05):
        return (
            f"has no values below {lowest:g}, as if windowed for display; "
            "expected the full range of HU, from air at -1000",
        )
    soft = float(np.mean((sample > -150) & (sample < 250)))
    if soft < 0.02:
        return (
            f"hardly any of it ({soft:.1%}) is as dense as soft tissue; "
            "the values look shifted or scaled, expected HU",
        )
    return ()


def geometry_warnings(grid: Grid) -> tuple[str, ...]:
    """Return what in a geometry is unlikely for a CT of a person, one line each."""
    warnings = []
    if max(grid.spacing_mm) > _APART_MM:
        warnings.append(
            f"planes are {max(grid.spacing_mm):.1f} mm apart; "
            "small organs lie between them, and volumes are rough"
        )
    if min(grid.spacing_mm) < _FINE_MM:
        warnings.append(
            f"voxels measure only {min(grid.spacing_mm):.2g} mm, finer than any CT of the body; "
            "the spacing may be wrong"
        )
    # The voxel axis (x, y, z) that runs from feet to head.
    along = np.abs(grid.affine[2, :3]).argmax()
    for axis, (count, mm) in enumerate(zip(grid.shape[::-1], grid.spacing_mm[::-1], strict=True)):
        if count * mm > (_LONG_MM if axis == along else _WIDE_MM):
            warnings.append(
                f"it measures {count * mm:.0f} mm, more than any CT of a person; "
                "the spacing may be wrong"
            )
    return tuple(warnings)
