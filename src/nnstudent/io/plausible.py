"""Whether an image can be a CT in HU of a person: what speaks against it, and what was guessed when it was read."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.volume import Grid, Volume

_SAMPLES = 1_000_000
_APART_MM = 10.0  # adrenal glands and half the pancreas lie between planes that are further apart
_FINE_MM = 0.2
_WIDE_MM = 1000.0  # the widest gantries reconstruct 800 mm
_LONG_MM = 2300.0
_FEW = 64  # different values; a label map of more classes is refused for its ids, a CT has hundreds


def image_warnings(image: Volume) -> tuple[str, ...]:
    """What a reader of anything that is made of this image should know, a line each.

    Args:
        image: The image, as it was read.

    Returns:
        What was guessed when it was read, then what speaks against a CT in HU: in its values, in its geometry.
    """
    return (*image.warnings, *_values(image.array), *_geometry(image.grid))


def is_label_map(array: npt.NDArray[Any]) -> bool:
    """Whether an array holds a few whole numbers from 0 on, at least two of them, as label maps do and no CT does."""
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
    # A CT of a body holds fat or air (below -50 HU) and enhanced vessels or bone (above 100 HU). Of real ones at most 2 % is denser
    # than 700 HU, of heads a fifth; of those without their intercept, with padding that lies below as air should, over a third.
    if low > -50 or not 100 < high < 20000 or densest > 0.3:
        why = "; MR, scaled values, or CT without its rescale intercept" if low > -50 else ""
        return (
            f"does not look like CT in HU (range {array.min():g} to {array.max():g}{why}); the result is not to be relied on",
        )
    if low > -150 or (lowest > -700 and float(np.mean(sample == lowest)) > 0.05):
        return (
            f"has no values below {lowest:g}, as if windowed for display; expected the full range of HU, from air at -1000",
        )
    soft = float(np.mean((sample > -150) & (sample < 250)))
    if soft < 0.02:
        return (
            f"hardly any of it ({soft:.1%}) is as dense as soft tissue; the values look shifted or scaled, expected HU",
        )
    return ()


def _geometry(grid: Grid) -> tuple[str, ...]:
    warnings = []
    if max(grid.spacing_mm) > _APART_MM:
        warnings.append(
            f"planes are {max(grid.spacing_mm):.1f} mm apart; small organs lie between them, and volumes are rough"
        )
    if min(grid.spacing_mm) < _FINE_MM:
        warnings.append(
            f"voxels are {min(grid.spacing_mm):.2g} mm small, which no CT of the body is; the spacing may be wrong"
        )
    along = np.abs(
        grid.affine[2, :3]
    ).argmax()  # the voxel axis (x, y, z) that runs from feet to head
    for axis, (count, mm) in enumerate(zip(grid.shape[::-1], grid.spacing_mm[::-1], strict=True)):
        if count * mm > (_LONG_MM if axis == along else _WIDE_MM):
            warnings.append(
                f"it is {count * mm:.0f} mm wide, which no CT of a person is; the spacing may be wrong"
            )
    return tuple(warnings)
