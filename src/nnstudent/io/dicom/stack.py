"""The slices of a series and the one regular volume that they are stacked into; pure geometry, no file is opened here.

What a stack does not forgive is refused: two pictures of one place, a wide gap, slices that wander. What can be put right
without inventing anatomy is put right with a warning: a tilted gantry, a few missing slices, uneven spacing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy

from nnstudent.errors import GeometryError
from nnstudent.volume import Grid, Volume

Floats = npt.NDArray[np.float64]

AIR_HU = -1024
_TO_RAS = np.diag([-1.0, -1.0, 1.0])
# How far direction cosines may differ: what rounding them to two decimals does. Measured on oblique planes of 400 mm, 20 slices whose
# mean direction is taken: rounding to three decimals moves the far corner by 0.05 mm (at most 0.2), to two by 0.5 mm (at most 2.0).
_DIRECTION = 1e-2
_NEARLY_DEGREES = 10.0  # slices that are turned by less are no localizers, but slices whose directions contradict each other
SAME_MM = 0.01  # two slices closer than this lie at one place
_UNEVEN = 0.1  # of the slice spacing: how far a slice may lie from its place in an even stack
_UPRIGHT_DEGREES = 0.5  # what is less is rounding in the header
_TILT_DEGREES = 35.0  # gantries tilt by 30
_GAP_MM = (
    10.0  # the coarsest spacing that abdominal CT is read at: a wider gap may hide an adrenal gland
)


@dataclass(frozen=True, eq=False)
class Slice:
    """One plane of a series.

    Attributes:
        path: Its file.
        frame: Its number in the file, from 0; 0 where a file holds one plane.
        position: Centre of its first voxel, LPS, mm.
        orientation: Direction along a row, then along a column, LPS.
        spacing: Between rows, between columns, mm.
        size: Rows, columns.
        slope: HU a stored unit.
        intercept: HU at 0.
        instance: SOP instance UID of its file.
        traits: What may tell it apart from the planes of another volume, by element.
    """

    path: Path
    frame: int
    position: Floats
    orientation: Floats
    spacing: tuple[float, float]
    size: tuple[int, int]
    slope: float
    intercept: float
    instance: str = ""
    traits: Mapping[str, str] = field(default_factory=dict)

    @property
    def normal(self) -> Floats:
        """Direction across the plane, LPS."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    def __str__(self) -> str:
        return self.path.name + (f" frame {self.frame + 1}" if self.frame else "")


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in the order of their normal, and how they become a volume and back.

    Attributes:
        slices: One for each place.
        twins: Pairs at one place, of which the first is in ``slices``; they must be the same picture.
        grid: Of the volume.
        heights: Of each slice along the volume's z axis, in voxels; whole numbers unless slices are missing or uneven.
        shifts: Of each slice along the volume's (y, x) axes, in voxels; zero unless the gantry was tilted.
        warnings: What was put right, a line each.
    """

    slices: tuple[Slice, ...]
    twins: tuple[tuple[Slice, Slice], ...]
    grid: Grid
    heights: Floats
    shifts: Floats
    warnings: tuple[str, ...]

    @property
    def even(self) -> bool:
        """Whether the slices are the volume's planes as they are."""
        return (
            len(self.slices) == self.grid.shape[0]
            and not self.shifts.any()
            and not (self.heights % 1).any()
        )

    def volume(self, planes: npt.NDArray[Any]) -> Volume:
        """The volume.

        Args:
            planes: HU of the slices, (slice, row, column).

        Returns:
            On ``grid``, of the type of ``planes``; interpolated linearly, and only where slices are shifted or missing.
        """
        if self.even:
            return Volume(planes, self.grid)
        array = np.empty(self.grid.shape, planes.dtype)
        for z in range(len(array)):
            above = int(np.clip(np.searchsorted(self.heights, z), 1, len(self.slices) - 1))
            below = above - 1
            weight = round(
                float((z - self.heights[below]) / (self.heights[above] - self.heights[below])), 3
            )
            parts = [(below, 1 - weight), (above, weight)]
            plane = sum(
                share * self._shifted(planes[k], self.shifts[k]) for k, share in parts if share
            )
            array[z] = np.rint(plane) if planes.dtype.kind in "iu" else plane
        return Volume(array, self.grid)

    def _shifted(self, plane: npt.NDArray[Any], shift: Floats) -> npt.NDArray[np.float32]:
        if not self.shifts.any():
            return plane.astype(np.float32)
        room = [
            (0, size - have) for size, have in zip(self.grid.shape[1:], plane.shape, strict=True)
        ]
        wide = np.pad(plane.astype(np.float32), room, constant_values=AIR_HU)
        shifted: npt.NDArray[np.float32] = scipy.ndimage.shift(
            wide, shift, order=1, cval=AIR_HU, prefilter=False
        )
        return shifted

    def on_slices(self, labels: Volume) -> npt.NDArray[Any]:
        """Labels of the volume, carried back to the slices as they were taken (slice, row, column); nearest voxel.

        Raises:
            GeometryError: ``labels`` is not on ``grid``.
        """
        self.grid.require(
            labels.grid,
            what="the label map",
            of="the series",
            advice="give the labels of this series",
        )
        if self.even:
            return labels.array
        rows, columns = self.slices[0].size
        starts = np.rint(self.shifts).astype(int)
        planes = np.rint(self.heights).astype(int)
        return np.stack(
            [
                labels.array[z, y : y + rows, x : x + columns]
                for z, (y, x) in zip(planes, starts, strict=True)
            ]
        )


def make_stack(where: Path, slices: Sequence[Slice]) -> Stack:
    """Stack slices along their normal.

    Args:
        where: The folder, for errors.
        slices: In any order.

    Raises:
        GeometryError: They are no one stack that can be trusted.
    """
    slices, warnings = _parallel(where, slices)
    normal = slices[0].normal
    ordered, twins = _one_a_place(where, sorted(slices, key=lambda s: float(s.position @ normal)))
    if len(ordered) < 2:
        raise GeometryError(f"{where}: one slice only; expected at least two")
    if twins:
        number = "1 slice is" if len(twins) == 1 else f"{len(twins)} slices are"
        warnings.append(
            f"{number} there twice, the same picture at the same place; each was taken once"
        )
    shifts, bent = _upright(where, ordered)
    heights, planes, uneven = _even(where, ordered)
    return Stack(
        tuple(ordered),
        tuple(twins),
        _grid(ordered, shifts, planes),
        heights,
        shifts,
        (*warnings, *bent, *uneven),
    )


def judge(slices: Sequence[Slice]) -> Literal["regular", "filled", "uneven", "refused"]:
    """What stack slices make: a regular one, one with planes to fill in, one to resample, or none.

    Two slices at one place are none, unless they are copies of the same image.
    """
    try:
        stack = make_stack(Path(), slices)
    except GeometryError:
        return "refused"
    copies = [kept.instance == other.instance != "" for kept, other in stack.twins]
    if not all(copies) or len(stack.slices) + len(stack.twins) < len(slices):
        return "refused"
    if (stack.heights % 1).any():
        return "uneven"
    return "regular" if stack.grid.shape[0] == len(stack.slices) else "filled"


def alike(slices: Sequence[Slice]) -> list[list[Slice]]:
    """The slices by direction, to rounding; the most common one first."""
    groups: list[list[Slice]] = []
    for item in slices:
        for group in groups:
            if np.abs(item.orientation - group[0].orientation).max() <= _DIRECTION:
                group.append(item)
                break
        else:
            groups.append([item])
    return sorted(groups, key=len, reverse=True)


def nearly(one: Slice, other: Slice) -> bool:
    """Whether two slices are turned against each other by so little that none of them can be a localizer."""
    cosines = [
        float(one.orientation[part] @ other.orientation[part])
        for part in (slice(0, 3), slice(3, 6))
    ]
    return min(cosines) > math.cos(math.radians(_NEARLY_DEGREES))


def _parallel(where: Path, slices: Sequence[Slice]) -> tuple[list[Slice], list[str]]:
    """The slices that lie as most do, all of one size and one direction."""
    main, *others = alike(slices)
    near = next((group[0] for group in others if nearly(main[0], group[0])), None)
    if near is not None:
        off = np.abs(near.orientation - main[0].orientation).max()
        raise GeometryError(
            f"{where}: the directions of {main[0]} and {near} differ by {off:.3f}, more than rounding can do ({_DIRECTION:g}); "
            "expected parallel slices, separate them"
        )
    first, turned = main[0], len(slices) - len(main)
    if turned >= len(main):
        raise GeometryError(
            f"{where}: {turned} of {len(slices)} slices are turned against {first}; expected parallel slices, separate them"
        )
    for other in main:
        if other.size != first.size or not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            raise GeometryError(
                f"{other.path}: is of another size or pixel spacing than {first}; separate the two"
            )
    number = "1 image is" if turned == 1 else f"{turned} images are"
    warnings = (
        [f"{number} turned against the others, as localizers are, and left out"] if turned else []
    )
    return _directed(main, warnings), warnings


def _directed(slices: list[Slice], warnings: list[str]) -> list[Slice]:
    """The slices with one direction, the mean of theirs, at right angles."""
    given = np.stack([item.orientation for item in slices])
    mean = given.mean(axis=0)
    row, column = mean[:3], mean[3:]
    lengths = np.linalg.norm(given.reshape(-1, 2, 3), axis=2)
    if np.abs(lengths - 1).max() > 2 * _DIRECTION or abs(row @ column) > _DIRECTION:
        raise GeometryError(
            f"{slices[0].path}: the row and column directions are not at right angles; the geometry is broken"
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
            f"the directions of the slices are rounded or differ, by up to {off.max():.4f}: their mean was taken, which is off by up to "
            f"{far:.1f} mm at the far corner"
        )
    return [replace(item, orientation=straight) for item in slices]


def _one_a_place(
    where: Path, ordered: Sequence[Slice]
) -> tuple[list[Slice], list[tuple[Slice, Slice]]]:
    kept, twins = [ordered[0]], []
    for item in ordered[1:]:
        apart = item.position - kept[-1].position
        if abs(apart @ item.normal) > SAME_MM:
            kept.append(item)
        elif np.linalg.norm(apart) > SAME_MM:
            raise GeometryError(
                f"{where}: {kept[-1]} and {item} lie side by side; expected one stack, separate the acquisitions"
            )
        else:
            twins.append((kept[-1], item))
    return kept, twins


def _upright(where: Path, ordered: Sequence[Slice]) -> tuple[Floats, list[str]]:
    """How far each slice is shifted in its plane against an upright stack: (row, column), in pixels, none below zero."""
    first = ordered[0]
    row, column = first.orientation[:3], first.orientation[3:]
    positions = np.stack([s.position for s in ordered]) - first.position
    across = np.stack([positions @ column, positions @ row], axis=1)  # along the (y, x) axes, mm
    along = positions @ first.normal
    lean = across[-1] / along[-1]
    if np.abs(across - along[:, None] * lean).max() > max(first.spacing):
        raise GeometryError(
            f"{where}: the slices do not lie one above the other; expected one straight stack"
        )
    tilt = float(np.degrees(np.arctan(np.linalg.norm(lean))))
    if tilt <= _UPRIGHT_DEGREES:
        return np.zeros_like(across), []
    if tilt > _TILT_DEGREES:
        raise GeometryError(
            f"{where}: the stack leans by {tilt:.0f}°; expected a gantry tilted by at most {_TILT_DEGREES:.0f}°"
        )
    shifts = across / np.array(first.spacing)
    return shifts - shifts.min(axis=0), [
        f"the gantry was tilted by {tilt:.1f}°: each slice was shifted in its plane to an upright stack"
    ]


def _even(where: Path, ordered: Sequence[Slice]) -> tuple[Floats, int, list[str]]:
    """Height of each slice in voxels of an even stack, how many planes that has, and what is to be told."""
    along = np.stack([s.position for s in ordered]) @ ordered[0].normal
    along, last = along - along[0], len(ordered) - 1
    even = np.arange(last + 1, dtype=np.float64)
    if np.abs(along / along[-1] * last - even).max() <= max(_UNEVEN, SAME_MM / along[-1] * last):
        apart = float(along[-1] / last)
        coarse = [
            f"the slices are {apart:.1f} mm apart: an adrenal gland or a lesion may lie between two of them"
        ]
        return even, last + 1, coarse if apart > _GAP_MM + SAME_MM else []
    gaps = np.diff(along)
    usual = float(
        np.sort(gaps)[(last - 1) // 2]
    )  # the lower median: a gap too wide is likelier than one too narrow
    widest = int(gaps.argmax())
    between = f"between {ordered[widest]} and {ordered[widest + 1]}"
    planes = round(float(along[-1]) / usual) + 1
    if gaps[widest] > max(_GAP_MM, (1 + _UNEVEN) * usual) + SAME_MM or planes > 2 * len(ordered):
        raise GeometryError(
            f"{where}: slices are missing {between} (a gap of {gaps[widest]:.2f} mm, usually {usual:.2f}); "
            f"gaps up to {_GAP_MM:.0f} mm are filled in, copy the series again"
        )
    heights = along / along[-1] * (planes - 1)
    if np.abs(heights - np.rint(heights)).max() <= _UNEVEN:
        number = planes - len(ordered)
        told = f"{number} slice{' is' if number == 1 else 's are'} missing, the widest gap {gaps[widest]:.1f} mm {between}"
        return (
            np.rint(heights),
            planes,
            [f"{told}: filled in from the neighbors, do not trust small organs there"],
        )
    told = f"slices are unevenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm, the widest {between})"
    return heights, planes, [f"{told}: resampled to every {along[-1] / (planes - 1):.2f} mm"]


def _grid(ordered: Sequence[Slice], shifts: Floats, planes: int) -> Grid:
    """Of the volume: along a row, along a column, across the slices."""
    first = ordered[0]
    row, column = first.orientation[:3] * first.spacing[1], first.orientation[3:] * first.spacing[0]
    step = ordered[-1].position - first.position
    if shifts.any():
        step = (step @ first.normal) * first.normal
    affine = np.eye(4)
    affine[:3, :3] = _TO_RAS @ np.stack([row, column, step / (planes - 1)], axis=1)
    affine[:3, 3] = _TO_RAS @ (first.position - shifts[0, 0] * column - shifts[0, 1] * row)
    more = np.ceil(shifts.max(axis=0)).astype(int)
    return Grid((planes, first.size[0] + int(more[0]), first.size[1] + int(more[1])), affine)
