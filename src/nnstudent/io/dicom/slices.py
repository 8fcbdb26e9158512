"""The slices of a series, and what makes them parallel; pure geometry, no file is opened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nnstudent.errors import GeometryError
from nnstudent.types import Float64Array
from nnstudent.words import count

SAME_MM = 0.01  # Two slices closer than this lie at one place.
# How far direction cosines may differ: as far as rounding to two decimals moves them. Measured on
# oblique planes of 400 mm, 20 slices, mean direction: rounding to three decimals moves the far
# corner by 0.05 mm (at most 0.2), rounding to two by 0.5 mm (at most 2.0).
_DIRECTION = 1e-2
# Slices turned by less are not localizers; their directions contradict each other.
_NEARLY_DEGREES = 10.0


@dataclass(frozen=True, eq=False)
class Slice:
    """One plane of a series.

    Attributes:
        path: Its file.
        frame: Its number in the file, from 0.
        position: Centre of its first voxel, LPS, mm.
        orientation: Direction along a row, then along a column, LPS.
        spacing: Distance between rows, then between columns, mm.
        size: Rows, columns.
        slope: HU per stored unit.
        intercept: HU of the stored value 0.
        instance: SOP instance UID of its file.
        traits: Elements that may distinguish it from the planes of another volume, by keyword.
    """

    path: Path
    frame: int
    position: Float64Array
    orientation: Float64Array
    spacing: tuple[float, float]
    size: tuple[int, int]
    slope: float
    intercept: float
    instance: str = ""
    traits: Mapping[str, str] = field(default_factory=dict)

    @property
    def normal(self) -> Float64Array:
        """Direction across the plane, LPS."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    def __str__(self) -> str:
        return self.path.name + (f" frame {self.frame + 1}" if self.frame else "")


def group_by_direction(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Group slices by direction, allowing for rounding, the most common direction first."""
    groups: list[list[Slice]] = []
    for item in slices:
        for group in groups:
            if np.abs(item.orientation - group[0].orientation).max() <= _DIRECTION:
                group.append(item)
                break
        else:
            groups.append([item])
    return sorted(groups, key=len, reverse=True)


def are_nearly_parallel(one: Slice, other: Slice) -> bool:
    """Whether two slices are turned against each other by too little for one to be a localizer."""
    cosines = [
        float(one.orientation[part] @ other.orientation[part])
        for part in (slice(0, 3), slice(3, 6))
    ]
    return min(cosines) > math.cos(math.radians(_NEARLY_DEGREES))


def turned_warning(number: int) -> str:
    """Return the warning that images were left out because they are turned against the others."""
    verb = "is" if number == 1 else "are"
    return (
        f"{count(number, 'image')} {verb} turned against the others, as localizers are, "
        "and left out"
    )


def make_parallel(where: Path, slices: Sequence[Slice]) -> tuple[list[Slice], list[str]]:
    """Select the slices of the most common direction, and make them exactly parallel.

    Args:
        where: Their folder, for errors.
        slices: The slices, in any order.

    Returns:
        The slices, with one direction, and warnings.

    Raises:
        GeometryError: The slices contradict each other in direction, size or pixel spacing.
    """
    main, *others = group_by_direction(slices)
    near = next((group[0] for group in others if are_nearly_parallel(main[0], group[0])), None)
    if near is not None:
        off = np.abs(near.orientation - main[0].orientation).max()
        raise GeometryError(
            f"{where}: the directions of {main[0]} and {near} differ by {off:.3f}, more than "
            f"rounding explains ({_DIRECTION:g}); expected parallel slices, separate them"
        )
    first, turned = main[0], len(slices) - len(main)
    if turned >= len(main):
        raise GeometryError(
            f"{where}: {turned} of {len(slices)} slices are turned against {first}; "
            "expected parallel slices, separate them"
        )
    for other in main:
        if other.size != first.size or not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            raise GeometryError(
                f"{other.path}: has another size or pixel spacing than {first}; separate the two"
            )
    warnings = [turned_warning(turned)] if turned else []
    return _directed(main, warnings), warnings


def _directed(slices: list[Slice], warnings: list[str]) -> list[Slice]:
    """The slices with their mean direction, straightened to right angles."""
    given = np.stack([item.orientation for item in slices])
    mean = given.mean(axis=0)
    row, column = mean[:3], mean[3:]
    lengths = np.linalg.norm(given.reshape(-1, 2, 3), axis=2)
    if np.abs(lengths - 1).max() > 2 * _DIRECTION or abs(row @ column) > _DIRECTION:
        raise GeometryError(
            f"{slices[0].path}: the row and column directions are not at right angles; "
            "the geometry is broken, copy the series again"
        )
    u, _, v = np.linalg.svd(np.stack([row, column]), full_matrices=False)
    straight = (u @ v).ravel()  # the nearest pair of unit vectors at right angles
    first, off = slices[0], np.abs(given - straight)
    reach = np.repeat(
        np.array([(first.size[1] - 1) * first.spacing[1], (first.size[0] - 1) * first.spacing[0]]),
        3,
    )
    far = float(np.linalg.norm((off * reach).reshape(-1, 2, 3).sum(axis=1), axis=1).max())
    if far > max(first.spacing) / 2:
        warnings.append(
            f"the directions of the slices are rounded or differ, by up to {off.max():.4f}; "
            f"their mean is used, which is off by up to {far:.1f} mm at the far corner"
        )
    return [replace(item, orientation=straight) for item in slices]
