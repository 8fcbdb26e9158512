"""Where an image's header says that its voxels lie: what it contradicts itself in is refused, what it leaves open is a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import HeaderDataError

from nnstudent.errors import GeometryError, InputError, quoted
from nnstudent.volume import Grid

SPACING_MM = (0.05, 20.0)
_SKEW = 0.1  # cosine between two axes; what is beyond, a tilted gantry, would be measured wrongly
_TILT = 0.01  # from here on the tilt is worth a word
_SAME = 0.01  # share by which two statements of a spacing may differ
_UNITS = {
    1: ("metres", 1000.0),
    3: ("micrometres", 0.001),
}  # xyzt_units; 0 is unknown, by custom mm, and 2 is mm


def grid_of(path: Path, image: Any, raw: bytes) -> tuple[Grid, tuple[str, ...]]:
    """The grid of an opened image, and a warning for each thing about it that is a guess.

    Args:
        path: The image's file, for messages.
        image: As nibabel opened it.
        raw: The first bytes of the file, before nibabel mended them.

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
            f"{path}: is {len(image.shape)}D ({sizes}); expected one 3D volume of at least 2 voxels along each axis"
        )
    try:
        grid = Grid(shape[::-1], image.affine)
    except GeometryError as error:
        raise GeometryError(f"{path}: {error}") from error
    warnings: list[str] = []
    skew = _skew(grid)
    if skew > _SKEW:
        angle = np.degrees(np.arccos(min(1.0, skew)))
        raise GeometryError(
            f"{path}: its axes stand at {angle:.0f}° to each other; expected right angles, resample the image first"
        )
    if skew > _TILT:
        angle = np.degrees(np.arcsin(skew))
        warnings.append(
            f"its axes are {angle:.1f}° off right angles; they were taken for right angles"
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
            f"{path}: {grid}; expected a spacing of {SPACING_MM[0]} to {SPACING_MM[1]:.0f} mm, mend the header"
        )


def _in_mm(path: Path, image: Any, grid: Grid, warnings: list[str]) -> Grid:
    """The grid in mm, where the header states lengths in another unit."""
    name, factor = _UNITS.get(int(image.header["xyzt_units"]) & 7, ("", 1.0))
    if factor == 1.0:
        return grid
    affine = grid.affine.copy()
    affine[:3] *= factor
    if _plausible(tuple(mm * factor for mm in grid.spacing_mm)):
        warnings.append(f"its header states lengths in {name}; they were converted to mm")
        return Grid(grid.shape, affine)
    x, y, z = reversed(grid.spacing_mm)
    raise GeometryError(
        f"{path}: its header states lengths in {name}, by which a voxel measures {x:.4g}×{y:.4g}×{z:.4g} {name}; "
        "expected the spacing of a CT, mend xyzt_units or the spacing"
    )


def _check_forms(
    path: Path, image: Any, pixdim: npt.NDArray[np.float64], grid: Grid, warnings: list[str]
) -> None:
    """Compare the three places at which a NIfTI header states the geometry: sform, qform and pixdim."""
    sform, has_sform = image.get_sform(coded=True)
    qform, has_qform = _qform(path, image)
    stored = Grid(grid.shape, image.affine)
    if (
        has_sform
        and has_qform
        and not Grid(grid.shape, sform).matches(Grid(grid.shape, qform), tolerance_mm=0.5)
    ):
        raise GeometryError(
            f"{path}: sform and qform place the image differently; mend the header so that they agree"
        )
    told = "×".join(f"{mm:.4g}" for mm in pixdim)
    if has_sform:
        _compare_spacing(path, stored, pixdim, told, warnings)
    elif not np.isfinite(pixdim).all() or (pixdim == 0).any():
        raise GeometryError(
            f"{path}: its header states the voxel size {told}; expected three sizes in mm, mend pixdim"
        )
    elif (pixdim < 0).any():
        warnings.append(f"its header states the voxel size {told}; the signs were left out")
    if not has_sform and not has_qform:
        warnings.append(
            _unplaced(
                grid, "its header does not state the orientation (sform_code and qform_code are 0)"
            )
        )


def _compare_spacing(
    path: Path, grid: Grid, pixdim: npt.NDArray[np.float64], told: str, warnings: list[str]
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
            f"{path}: its header states the voxel size {told} in pixdim and {shown} in the sform; mend the header so that they agree"
        )
    warnings.append(
        f"its header states the voxel size {told} in pixdim and {shown} in the sform; the sform was taken"
    )


def _unplaced(grid: Grid, why: str) -> str:
    return f"{why}; {grid.axcodes} was assumed, so left and right, or head and feet, may be swapped"


def _raw_pixdim(image: Any, raw: bytes) -> npt.NDArray[np.float64]:
    """Voxel size along (x, y, z) as the file states it; nibabel mends signs and zeros without a word."""
    kind = type(image.header)
    header = kind(raw[: kind.template_dtype.itemsize], check=False)
    return np.array(header["pixdim"][1:4], np.float64)


def _is_unplaced(path: Path, image: Any, raw: bytes) -> bool:
    """Whether a format other than NIfTI left the orientation open, so that nibabel assumed one."""
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
        raise GeometryError(f"{path}: the qform is broken ({line}); mend the header") from error
