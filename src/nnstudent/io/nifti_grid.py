"""Reads the grid of an image from its header.

A header that contradicts itself is refused; what it leaves open is a warning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from nnstudent.errors import GeometryError, InputError, quoted
from nnstudent.io.stored import StoredImage
from nnstudent.types import Float64Array
from nnstudent.volume import Grid

SPACING_MM = (0.05, 20.0)
_MOST_SKEW = 0.1  # cosine between two axes; beyond, as with a tilted gantry, volumes are wrong
_SKEW_WARNING = 0.01  # cosine from which the skew is mentioned
_SAME = 0.01  # share by which two statements of one spacing may differ
# Of xyzt_units; 0 is unknown, by custom mm, and 2 is mm.
_UNITS = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}


def grid_of(path: Path, image: Any, *, raw: bytes) -> tuple[Grid, tuple[str, ...]]:
    """Return the grid of an opened image, and a warning for each guess about it.

    Args:
        path: The image's file, for messages.
        image: The image as nibabel opened it.
        raw: The first bytes of the file, which nibabel may have corrected.

    Raises:
        InputError: The image is not 3D.
        GeometryError: Spacing or affine are unusable, or the header contradicts itself.
    """
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 2:
        sizes = "×".join(map(str, image.shape))
        raise InputError(
            f"{path}: is {len(image.shape)}D ({sizes}); "
            "expected one 3D volume of at least 2 voxels along each axis"
        )
    try:
        grid = Grid(shape[::-1], image.affine)
    except GeometryError as error:
        raise GeometryError(f"{path}: {error}") from error
    warnings: list[str] = []
    skew = _skew(grid)
    if skew > _MOST_SKEW:
        angle = np.degrees(np.arccos(min(1.0, skew)))
        raise GeometryError(
            f"{path}: its axes stand at {angle:.0f}° to each other; "
            "expected right angles, resample the image first"
        )
    if skew > _SKEW_WARNING:
        angle = np.degrees(np.arcsin(skew))
        warnings.append(
            f"its axes are {angle:.1f}° off right angles; they are treated as right angles"
        )
    if isinstance(image, nib.Nifti1Pair):
        grid = _in_mm(path, image, grid, warnings)
    _check_spacing(path, grid)
    if isinstance(image, nib.Nifti1Pair):
        _check_forms(path, image, _raw_pixdim(image, raw), grid, warnings)
    elif _is_unplaced(path, image, raw):
        warnings.append(_unplaced(grid, "its format or header does not state the orientation"))
    return grid, tuple(warnings)


def _skew(grid: Grid) -> float:
    axes = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max())


def _plausible(spacing: tuple[float, ...]) -> bool:
    return all(SPACING_MM[0] <= mm <= SPACING_MM[1] for mm in spacing)


def _check_spacing(path: Path, grid: Grid) -> None:
    if not _plausible(grid.spacing_mm):
        raise GeometryError(
            f"{path}: {grid}; expected a spacing of {SPACING_MM[0]} to {SPACING_MM[1]:.0f} mm, "
            "correct the header"
        )


def _in_mm(path: Path, image: Any, grid: Grid, warnings: list[str]) -> Grid:
    """The grid in mm, converted if the header states lengths in another unit."""
    name, factor = _UNITS.get(int(image.header["xyzt_units"]) & 7, ("", 1.0))
    if factor == 1.0:
        return grid
    affine = grid.affine.copy()
    affine[:3] *= factor
    if _plausible(tuple(mm * factor for mm in grid.spacing_mm)):
        warnings.append(f"its header states lengths in {name}; they are converted to mm")
        return Grid(grid.shape, affine)
    x, y, z = reversed(grid.spacing_mm)
    raise GeometryError(
        f"{path}: its header states lengths in {name}, so that a voxel measures "
        f"{x:.4g}×{y:.4g}×{z:.4g} {name}; "
        "expected the spacing of a CT, correct xyzt_units or the spacing"
    )


def _check_forms(
    path: Path, image: Any, pixdim: Float64Array, grid: Grid, warnings: list[str]
) -> None:
    """Compare the three places where a NIfTI header states geometry: sform, qform and pixdim."""
    sform, has_sform = image.get_sform(coded=True)
    qform, has_qform = _qform(path, image)
    stored = Grid(grid.shape, image.affine)
    if (
        has_sform
        and has_qform
        and not Grid(grid.shape, sform).matches(Grid(grid.shape, qform), tolerance_mm=0.5)
    ):
        raise GeometryError(
            f"{path}: sform and qform place the image differently; "
            "correct the header so that they agree"
        )
    stated = "×".join(f"{mm:.4g}" for mm in pixdim)
    if has_sform:
        _compare_spacing(path, stored, pixdim, stated, warnings)
    elif not np.isfinite(pixdim).all() or (pixdim == 0).any():
        raise GeometryError(
            f"{path}: its header states the voxel size {stated}; "
            "expected three sizes in mm, correct pixdim"
        )
    elif (pixdim < 0).any():
        warnings.append(f"its header states the voxel size {stated}; the signs are ignored")
    if not has_sform and not has_qform:
        warnings.append(
            _unplaced(
                grid, "its header does not state the orientation (sform_code and qform_code are 0)"
            )
        )


def _compare_spacing(
    path: Path, grid: Grid, pixdim: Float64Array, stated: str, warnings: list[str]
) -> None:
    spacing = np.array(grid.spacing_mm[::-1])
    with np.errstate(invalid="ignore", over="ignore"):
        if np.allclose(np.abs(pixdim), spacing, rtol=_SAME, atol=0.0):
            return
    placeholder = (
        not np.isfinite(pixdim).all() or (pixdim == 0).any() or (np.abs(pixdim) == 1).all()
    )
    shown = "×".join(f"{mm:.4g}" for mm in spacing)
    if not placeholder:
        raise GeometryError(
            f"{path}: its header states the voxel size {stated} in pixdim and {shown} in the "
            "sform; correct the header so that they agree"
        )
    warnings.append(
        f"its header states the voxel size {stated} in pixdim and {shown} in the sform; "
        "the sform is used"
    )


def _unplaced(grid: Grid, why: str) -> str:
    guess = f"{grid.axcodes} is assumed"
    return f"{why}; {guess}, so left and right, or head and feet, may be swapped"


def _raw_pixdim(image: Any, raw: bytes) -> Float64Array:
    """Voxel size along (x, y, z) as stored; nibabel corrects signs and zeros silently."""
    return np.array(stored_field(image, raw, "pixdim")[1:4], np.float64)


def stored_field(image: Any, raw: bytes, name: str) -> Any:
    """A field of a NIfTI header as stored, which nibabel may have corrected.

    Args:
        image: The image as nibabel opened it.
        raw: The first bytes of the file that holds its header.
        name: The field's name in the standard.
    """
    layout = type(image.header).template_dtype.newbyteorder(image.header.endianness)
    return np.frombuffer(raw, layout, count=1)[name][0]


def _is_unplaced(path: Path, image: Any, raw: bytes) -> bool:
    """Whether an image other than NIfTI leaves its orientation open, for nibabel to assume."""
    if isinstance(image, StoredImage):
        return image.unplaced
    if isinstance(image, nib.MGHImage):
        return raw[28:30] == b"\0\0"  # goodRASFlag
    if isinstance(image, nib.AnalyzeImage):
        return not path.with_suffix(".mat").is_file()
    return False


def _qform(path: Path, image: Any) -> tuple[Any, int]:
    try:
        return image.get_qform(coded=True)  # type: ignore[no-any-return]  # nibabel is untyped
    except (ValueError, HeaderDataError) as error:
        line = quoted(error)
        raise GeometryError(f"{path}: the qform is broken ({line}); correct the header") from error
