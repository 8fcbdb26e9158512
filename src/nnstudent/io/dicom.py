"""A DICOM series of one CT to a volume; what cannot be stacked into one regular volume is refused with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.errors import GeometryError, InputError, require
from nnstudent.volume import Grid, Volume

_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_DIRECTION = 1e-3  # how far direction cosines may differ
_UNEVEN = 0.1  # of the slice spacing: how far a gap may differ from the others
_TAGS = (
    "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "RescaleSlope", "RescaleIntercept",
)  # fmt: skip


@dataclass(frozen=True)
class _Slice:
    path: Path
    position: npt.NDArray[np.float64]  # of the first voxel's centre, LPS, mm
    orientation: npt.NDArray[np.float64]  # direction along a row, then along a column
    spacing: tuple[float, float]  # between rows, between columns, mm
    size: tuple[int, int]  # rows, columns
    slope: float
    intercept: float


def read_series(folder: Path) -> Volume:
    """Read the one CT series of a folder as HU, on its own grid.

    The slices are sorted by their position along the normal; the axes (x, y, z) run along a row, along a column, and along
    the normal. Files that are no DICOM are passed over.

    Returns:
        The volume, int16 where all HU are whole and fit, else float32.

    Raises:
        InputError: There is no DICOM, more than one series, another modality than CT, or a slice that cannot be decoded.
        GeometryError: Slices are missing, doubled, unevenly spaced, turned against each other, or the gantry is tilted.
        MissingExtraError: pydicom is not installed.
    """
    pydicom = require("pydicom", extra="dicom", why="reading DICOM")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the folder of a DICOM series")
    slices = _one_series(folder, _headers(folder, pydicom))
    affine, ordered = _stack(folder, slices)
    array = _values(folder, ordered, pydicom)
    return Volume(array, Grid(array.shape, affine))


def _headers(folder: Path, pydicom: Any) -> list[tuple[Path, Any]]:
    found = []
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        except pydicom.errors.InvalidDicomError:
            continue
        except (OSError, EOFError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
            raise InputError(f"{path}: damaged DICOM ({_line(error)}); copy the series again") from error
        if header.get("Rows") and header.get("Columns"):  # reports, plans and DICOMDIR have none
            found.append((path, header))
    if not found:
        raise InputError(f"{folder}: no DICOM image in it; expected the folder of one CT series")
    return found


def _one_series(folder: Path, headers: Sequence[tuple[Path, Any]]) -> list[_Slice]:
    series = {
        str(h.get("SeriesInstanceUID", "")): f"{h.get('SeriesNumber', '?')} {h.get('SeriesDescription', '')}".strip() for _, h in headers
    }
    if len(series) > 1:
        raise InputError(f"{folder}: holds {len(series)} series ({'; '.join(sorted(series.values())[:5])}); give each a folder of its own")
    modalities = sorted({str(h.get("Modality", "unknown")) for _, h in headers})
    if modalities != ["CT"]:
        raise InputError(f"{folder}: modality {', '.join(modalities)}; expected CT")
    return [_slice(path, header) for path, header in headers]


def _slice(path: Path, header: Any) -> _Slice:
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise InputError(f"{path}: a multi-frame object; expected one file a slice, convert it to NIfTI first")
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise InputError(f"{path}: a color image; expected one value a pixel")
    values = {}
    for tag, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        try:
            values[tag] = np.array([float(v) for v in header.get(tag) or ()], np.float64)
        except (TypeError, ValueError):
            values[tag] = np.array([])
        if values[tag].size != count or not np.isfinite(values[tag]).all():
            raise GeometryError(f"{path}: {tag} is missing or malformed; without it a slice has no place in space")
    rows, columns = values["PixelSpacing"]
    return _Slice(
        path, values["ImagePositionPatient"], values["ImageOrientationPatient"], (float(rows), float(columns)),
        (int(header.Rows), int(header.Columns)), _number(header, "RescaleSlope", 1.0), _number(header, "RescaleIntercept", 0.0),
    )  # fmt: skip


def _number(header: Any, tag: str, default: float) -> float:
    value = header.get(tag)
    return default if value is None else float(value)


def _stack(folder: Path, slices: Sequence[_Slice]) -> tuple[npt.NDArray[np.float64], list[_Slice]]:
    """The affine of the stack (voxel (x, y, z) → RAS+ mm), and the slices in its order."""
    first = slices[0]
    if len(slices) < 2:
        raise GeometryError(f"{folder}: one slice only; expected at least two")
    for other in slices:
        if other.size != first.size or not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            raise GeometryError(f"{other.path}: is of another size or pixel spacing than {first.path.name}; leave out localizers")
        if np.abs(other.orientation - first.orientation).max() > _DIRECTION:
            raise GeometryError(f"{other.path}: is turned against {first.path.name}; expected parallel slices, leave out localizers")
    row, column = first.orientation[:3], first.orientation[3:]
    if abs(np.linalg.norm(row) - 1) > 1e-2 or abs(np.linalg.norm(column) - 1) > 1e-2 or abs(row @ column) > _DIRECTION:
        raise GeometryError(f"{first.path}: the row and column directions are not at right angles; the geometry is broken")
    normal = np.cross(row, column)
    ordered = sorted(slices, key=lambda s: float(s.position @ normal))
    positions = np.stack([s.position for s in ordered])
    _even(folder, ordered, positions @ normal)
    step = (positions[-1] - positions[0]) / (len(ordered) - 1)
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(step - (step @ normal) * normal), step @ normal)))
    if tilt > 0.5:
        raise GeometryError(f"{folder}: the gantry was tilted by {tilt:.1f}°; the slices are no upright stack, resample the series first")
    strayed = np.abs(positions - (positions[0] + np.arange(len(ordered))[:, None] * step)) - _UNEVEN * abs(step @ normal)
    if strayed.max() > max(first.spacing):
        raise GeometryError(f"{folder}: the slices do not lie one above the other; expected one straight stack")
    affine = np.eye(4)
    affine[:3, :3] = _TO_RAS @ np.stack([row * first.spacing[1], column * first.spacing[0], step], axis=1)
    affine[:3, 3] = _TO_RAS @ positions[0]
    return affine, ordered


def _even(folder: Path, ordered: Sequence[_Slice], along: npt.NDArray[np.float64]) -> None:
    gaps = np.diff(along)
    usual = float(np.sort(gaps)[(gaps.size - 1) // 2])  # the lower median: a gap too wide is likelier than one too narrow
    if gaps.min() < 1e-3:
        place = int(gaps.argmin())
        pair = f"{ordered[place].path.name} and {ordered[place + 1].path.name}"
        raise GeometryError(f"{folder}: two slices at one place ({pair}); expected one acquisition, separate its phases")
    worst = int(np.abs(gaps - usual).argmax())
    if abs(gaps[worst] - usual) <= max(_UNEVEN * usual, 0.02):
        return
    between = f"between {ordered[worst].path.name} and {ordered[worst + 1].path.name}"
    missing = gaps[worst] / usual - 1
    if missing > 0.5 and abs(missing - round(missing)) < 0.2:
        lost = "1 slice is" if round(missing) == 1 else f"{round(missing)} slices are"
        raise GeometryError(
            f"{folder}: {lost} missing {between} (a gap of {gaps[worst]:.2f} mm, usually {usual:.2f}); copy the series again"
        )
    raise GeometryError(
        f"{folder}: slices are unevenly spaced ({gaps[worst]:.2f} mm {between}, usually {usual:.2f}); resample the series first"
    )


def _values(folder: Path, ordered: Sequence[_Slice], pydicom: Any) -> npt.NDArray[Any]:
    whole = all(s.slope == round(s.slope) and s.intercept == round(s.intercept) for s in ordered)
    array = np.empty((len(ordered), *ordered[0].size), np.int16 if whole else np.float32)
    for place, item in enumerate(ordered):
        try:
            pixels = pydicom.dcmread(item.path).pixel_array
        except Exception as error:  # each decoder raises its own; whatever it is, this slice cannot be had
            raise InputError(f"{item.path}: the pixels cannot be decoded ({_line(error)}); copy the series again") from error
        if pixels.shape != item.size:
            raise InputError(f"{item.path}: {pixels.shape} pixels, its header says {item.size}; copy the series again")
        hu = pixels.astype(np.int64 if whole else np.float64) * (int(item.slope) if whole else item.slope) + (
            int(item.intercept) if whole else item.intercept
        )
        if array.dtype == np.int16 and (hu.min() < -32768 or hu.max() > 32767):
            array = array.astype(np.float32)
        array[place] = hu
    return array


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
