"""Arrays with their grid: arrays are (z, y, x), lengths are in mm, world axes are RAS+."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from nnstudent.errors import GeometryError
from nnstudent.types import Float64Array

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]
Affine = Float64Array
Box = tuple[slice, slice, slice]  # along (z, y, x), with start and stop

CANONICAL = "RAS"
_NEARLY = 0.1  # of a voxel: see Grid.matches


@dataclass(frozen=True, eq=False)
class Grid:
    """The positions of a volume's voxels.

    Attributes:
        shape: Voxels along (z, y, x).
        affine: 4×4, from voxel indices in the order (x, y, z) to RAS+ world coordinates in mm, as
            in NIfTI.

    Raises:
        GeometryError: A size is below 1, or the affine is not finite or not invertible.
    """

    shape: Shape
    affine: Affine

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "affine", np.array(self.affine, np.float64))
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise GeometryError(
                f"a grid of {self.shape} voxels; expected three sizes of at least 1"
            )
        if (
            self.affine.shape != (4, 4)
            or not np.isfinite(self.affine).all()
            or _flat(self.affine[:3, :3])
        ):
            raise GeometryError(
                "the affine is not a finite, invertible 4×4 matrix; "
                "the geometry of the image is broken, correct its header"
            )

    @property
    def spacing_mm(self) -> Spacing:
        """Distance between voxel centres along (z, y, x), in mm."""
        x, y, z = (float(v) for v in np.linalg.norm(self.affine[:3, :3], axis=0))
        return z, y, x

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, in ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def axcodes(self) -> str:
        """Direction in which the axes (x, y, z) increase, such as ``RAS`` or ``LPS``."""
        return "".join(nib.aff2axcodes(self.affine))

    def reoriented(self, axcodes: str = CANONICAL) -> Grid:
        """Return the grid with its axes flipped and permuted, as :meth:`Volume.reoriented` does."""
        return Volume(np.broadcast_to(np.uint8(0), self.shape), self).reoriented(axcodes).grid

    def matches(self, other: Grid, *, tolerance_mm: float | None = None) -> bool:
        """Whether both grids have the same shape and the same position of every voxel.

        Args:
            other: The other grid.
            tolerance_mm: How far apart two voxels may lie along any world axis. None means a tenth
                of the finer grid's smallest spacing: headers round that much (0.7031 mm written as
                0.703 mm moves the last of 512 voxels by 0.05 mm), and resampling to the nearest
                voxel changes the first label at five times as much.
        """
        if self.shape != other.shape:
            return False
        if tolerance_mm is None:
            tolerance_mm = _NEARLY * min(*self.spacing_mm, *other.spacing_mm)
        return bool(np.abs(_corners(self) - _corners(other)).max() <= tolerance_mm)

    def require(self, other: Grid, *, what: str, of: str = "its image", advice: str) -> None:
        """Refuse something on another grid, with the tolerance of :meth:`matches`.

        Args:
            other: The grid of what was given.
            what: What was given, as the subject of a sentence ("the label", a file's path).
            of: Whose grid this one is.
            advice: What to do about it, as an imperative.

        Raises:
            GeometryError: The grids differ. The message says how, in mm and voxels.
        """
        if not self.matches(other):
            raise GeometryError(
                f"{what} is on another grid than {of} ({self.difference(other)}); {advice}"
            )

    def difference(self, other: Grid) -> str:
        """Return how another grid differs from this one, in mm and voxels, for a message."""
        if self.shape != other.shape:
            return f"{other}, not {self}"
        far = float(np.linalg.norm(_corners(self) - _corners(other), axis=1).max())
        voxels = f"up to {far:.3g} mm or {far / min(self.spacing_mm):.2g} voxels apart"
        if self.axcodes != other.axcodes:
            return (
                f"stored as {other.axcodes}, not {self.axcodes}; voxels of one index are {voxels}"
            )
        if not np.allclose(self.spacing_mm, other.spacing_mm, rtol=0, atol=1e-4):
            have, want = (
                "×".join(f"{mm:.6g}" for mm in grid.spacing_mm[::-1]) for grid in (other, self)
            )
            return f"spacing {have} mm, not {want} mm; voxels are {voxels}"
        steps = [grid.affine[:3, :3] / np.array(grid.spacing_mm[::-1]) for grid in (self, other)]
        if np.abs(steps[0] - steps[1]).max() > 1e-4:
            return f"turned; voxels are {voxels}"
        return f"shifted by {far:.3g} mm or {far / min(self.spacing_mm):.2g} voxels"

    def cropped(self, box: Box) -> Grid:
        """Return the grid of the voxels in a box (slices along z, y, x)."""
        first = np.array([part.start for part in box[::-1]], np.float64)
        affine = self.affine.copy()
        affine[:3, 3] += self.affine[:3, :3] @ first
        z, y, x = (part.stop - part.start for part in box)
        return Grid((z, y, x), affine)

    def __str__(self) -> str:
        z, y, x = self.shape
        dz, dy, dx = self.spacing_mm
        return f"{x}×{y}×{z} at {dx:.2f}×{dy:.2f}×{dz:.2f} mm, {self.axcodes}"

    def resampled(self, shape: Shape) -> Grid:
        """Return a grid that fills the same box with another number of voxels.

        The outer borders of the voxels coincide.

        Args:
            shape: Voxels along (z, y, x).
        """
        scale = np.array(
            [old / new for old, new in zip(self.shape[::-1], shape[::-1], strict=True)]
        )
        affine = self.affine.copy()
        affine[:3, :3] = self.affine[:3, :3] * scale
        affine[:3, 3] = self.affine[:3, 3] + self.affine[:3, :3] @ ((scale - 1) / 2)
        return Grid(shape, affine)


def _flat(axes: Affine) -> bool:
    """Whether the three axes nearly lie in one plane, relative to their lengths."""
    lengths = np.linalg.norm(axes, axis=0)
    return bool(lengths.min() < 1e-6 or abs(np.linalg.det(axes / lengths)) < 1e-3)


def _corners(grid: Grid) -> Float64Array:
    last = np.array(grid.shape[::-1]) - 1
    index = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], np.float64)
    index[:, :3] *= last
    return index @ grid.affine.T[:, :3]


@dataclass(frozen=True, eq=False)
class Volume:
    """An array on a grid: an image in HU or a label map.

    Attributes:
        array: Values, (z, y, x).
        grid: Where they lie.
        warnings: What had to be guessed when the file was read, one line each. Everything made from
            the volume repeats them.

    Raises:
        GeometryError: The array's shape is not the grid's.
    """

    array: npt.NDArray[Any]
    grid: Grid
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise GeometryError(
                f"an array of {self.array.shape} on a grid of {self.grid.shape} voxels; "
                "both are (z, y, x) and must agree"
            )

    @property
    def spacing_mm(self) -> Spacing:
        """Distance between voxel centres along (z, y, x), in mm."""
        return self.grid.spacing_mm

    def cropped(self, box: Box) -> Volume:
        """Return the part in a box (slices along z, y, x), without copying."""
        return Volume(self.array[box], self.grid.cropped(box))

    def reoriented(self, axcodes: str = CANONICAL) -> Volume:
        """Return the volume with its axes flipped and permuted, without copying.

        Args:
            axcodes: Direction in which the new (x, y, z) axes increase, such as ``RAS``.
        """
        have = nib.orientations.io_orientation(self.grid.affine)
        want = nib.orientations.axcodes2ornt(tuple(axcodes))
        turn = nib.orientations.ornt_transform(have, want)
        array = nib.orientations.apply_orientation(self.array.T, turn).T
        affine = self.grid.affine @ nib.orientations.inv_ornt_aff(turn, self.grid.shape[::-1])
        return Volume(array, Grid(array.shape, affine))
