"""Stacks the slices of a series into one regular volume; pure geometry, no file is opened.

Slices are refused if they show two pictures of one place, leave a wide gap, or wander sideways.
What can be corrected without inventing anatomy is corrected with a warning: a tilted gantry, a few
missing slices, uneven spacing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy

from nnstudent.errors import GeometryError
from nnstudent.io.dicom.slices import SAME_MM, Slice, make_parallel
from nnstudent.types import Float32Array, Float64Array
from nnstudent.volume import Grid, Volume
from nnstudent.words import count

AIR_HU = -1024
_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_UNEVEN = 0.1  # of the slice spacing: how far a slice may lie from its place in an even stack
_UPRIGHT_DEGREES = 0.5  # A smaller tilt is rounding in the header.
_TILT_DEGREES = 35.0  # Gantries tilt by up to 30.
# The coarsest spacing at which abdominal CT is read; a wider gap may hide an adrenal gland.
_GAP_MM = 10.0


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in the order of their normal, and the way from them to a volume and back.

    Attributes:
        slices: One for each place.
        twins: Pairs at one place, the first of which is in ``slices``. They must be the same
            picture.
        grid: The grid of the volume.
        heights: Place of each slice along the volume's z axis, in voxels; whole numbers unless
            slices are uneven.
        shifts: Shift of each slice along the volume's (y, x) axes, in voxels; zero unless the
            gantry was tilted.
        warnings: What was corrected, one line each.
    """

    slices: tuple[Slice, ...]
    twins: tuple[tuple[Slice, Slice], ...]
    grid: Grid
    heights: Float64Array
    shifts: Float64Array
    warnings: tuple[str, ...]

    @property
    def even(self) -> bool:
        """Whether the slices are exactly the planes of the volume."""
        return (
            len(self.slices) == self.grid.shape[0]
            and not self.shifts.any()
            and not (self.heights % 1).any()
        )

    def volume(self, planes: npt.NDArray[Any]) -> Volume:
        """Make the volume.

        Args:
            planes: HU of the slices, (slice, row, column).

        Returns:
            A volume on ``grid`` with the data type of ``planes``, interpolated linearly, but only
            if slices are shifted, missing or uneven.
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

    def _shifted(self, plane: npt.NDArray[Any], shift: Float64Array) -> Float32Array:
        if not self.shifts.any():
            return plane.astype(np.float32)
        room = [
            (0, size - have) for size, have in zip(self.grid.shape[1:], plane.shape, strict=True)
        ]
        wide = np.pad(plane.astype(np.float32), room, constant_values=AIR_HU)
        shifted: Float32Array = scipy.ndimage.shift(
            wide, shift, order=1, cval=AIR_HU, prefilter=False
        )
        return shifted

    def on_slices(self, labels: Volume) -> npt.NDArray[Any]:
        """Carry labels of the volume back to the original slices, by the nearest voxel.

        Args:
            labels: Labels on ``grid``.

        Returns:
            The labels of each slice, (slice, row, column).

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
        where: Their folder, for errors.
        slices: The slices, in any order.

    Raises:
        GeometryError: The slices do not make one stack that can be trusted.
    """
    slices, warnings = make_parallel(where, slices)
    normal = slices[0].normal
    ordered, twins = _one_per_place(where, sorted(slices, key=lambda s: float(s.position @ normal)))
    if len(ordered) < 2:
        raise GeometryError(f"{where}: one slice only; expected at least two")
    if twins:
        verb = "occurs" if len(twins) == 1 else "occur"
        warnings.append(
            f"{count(len(twins), 'slice')} {verb} twice, the same picture at the same place; "
            "each is used once"
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
    """Judge which stack slices make: a regular one, one to fill in, one to resample, or none.

    Two slices at one place are refused unless they are copies of the same image.
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


def _one_per_place(
    where: Path, ordered: Sequence[Slice]
) -> tuple[list[Slice], list[tuple[Slice, Slice]]]:
    kept, twins = [ordered[0]], []
    for item in ordered[1:]:
        apart = item.position - kept[-1].position
        if abs(apart @ item.normal) > SAME_MM:
            kept.append(item)
        elif np.linalg.norm(apart) > SAME_MM:
            raise GeometryError(
                f"{where}: {kept[-1]} and {item} lie side by side; "
                "expected one stack, separate the acquisitions"
            )
        else:
            twins.append((kept[-1], item))
    return kept, twins


def _upright(where: Path, ordered: Sequence[Slice]) -> tuple[Float64Array, list[str]]:
    """The shift of each slice against an upright stack, (row, column) in pixels; and warnings."""
    first = ordered[0]
    row, column = first.orientation[:3], first.orientation[3:]
    positions = np.stack([s.position for s in ordered]) - first.position
    across = np.stack([positions @ column, positions @ row], axis=1)  # along the (y, x) axes, mm
    along = positions @ first.normal
    lean = across[-1] / along[-1]
    if np.abs(across - along[:, None] * lean).max() > max(first.spacing):
        raise GeometryError(
            f"{where}: the slices do not lie on a straight line; "
            "expected one stack, separate the acquisitions"
        )
    tilt = float(np.degrees(np.arctan(np.linalg.norm(lean))))
    if tilt <= _UPRIGHT_DEGREES:
        return np.zeros_like(across), []
    if tilt > _TILT_DEGREES:
        raise GeometryError(
            f"{where}: the stack leans by {tilt:.0f}°; "
            f"expected a gantry tilted by at most {_TILT_DEGREES:.0f}°"
        )
    shifts = across / np.array(first.spacing)
    return shifts - shifts.min(axis=0), [
        f"the gantry was tilted by {tilt:.1f}°; "
        "each slice is shifted in its plane to make an upright stack"
    ]


def _even(where: Path, ordered: Sequence[Slice]) -> tuple[Float64Array, int, list[str]]:
    """Height of each slice in an even stack, in voxels; how many planes that has; warnings."""
    along = np.stack([s.position for s in ordered]) @ ordered[0].normal
    along, last = along - along[0], len(ordered) - 1
    even = np.arange(last + 1, dtype=np.float64)
    if np.abs(along / along[-1] * last - even).max() <= max(_UNEVEN, SAME_MM / along[-1] * last):
        apart = float(along[-1] / last)
        coarse = [
            f"the slices are {apart:.1f} mm apart; "
            "an adrenal gland or a lesion may lie between two of them"
        ]
        return even, last + 1, coarse if apart > _GAP_MM + SAME_MM else []
    gaps = np.diff(along)
    # The lower median, because a gap is more often too wide than too narrow.
    usual = float(np.sort(gaps)[(last - 1) // 2])
    widest = int(gaps.argmax())
    between = f"between {ordered[widest]} and {ordered[widest + 1]}"
    planes = round(float(along[-1]) / usual) + 1
    if gaps[widest] > max(_GAP_MM, (1 + _UNEVEN) * usual) + SAME_MM or planes > 2 * len(ordered):
        raise GeometryError(
            f"{where}: slices are missing {between} "
            f"(a gap of {gaps[widest]:.2f} mm, usually {usual:.2f}); "
            f"gaps up to {_GAP_MM:.0f} mm are filled in, copy the series again"
        )
    heights = along / along[-1] * (planes - 1)
    if np.abs(heights - np.rint(heights)).max() <= _UNEVEN:
        missing = planes - len(ordered)
        warning = (
            f"{count(missing, 'slice')} {'is' if missing == 1 else 'are'} missing, the widest gap "
            f"{gaps[widest]:.1f} mm {between}; filled in from the neighbors, "
            "do not trust small organs there"
        )
        return np.rint(heights), planes, [warning]
    warning = (
        f"the slices are unevenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm, the widest gap "
        f"{between}); resampled to every {along[-1] / (planes - 1):.2f} mm"
    )
    return heights, planes, [warning]


def _grid(ordered: Sequence[Slice], shifts: Float64Array, planes: int) -> Grid:
    """The grid of the volume, whose axes run along a row, along a column and across the slices."""
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
