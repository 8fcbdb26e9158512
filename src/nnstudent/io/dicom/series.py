"""Reads a CT series of DICOM files as a volume in HU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.errors import GeometryError, InputError, MissingExtraError, quoted, require
from nnstudent.io.dicom.codestream import check_frames
from nnstudent.io.dicom.find import FoundSeries, find_series
from nnstudent.io.dicom.read import quiet, read_dataset
from nnstudent.io.dicom.slices import SAME_MM, Slice
from nnstudent.io.dicom.stack import Stack, make_stack
from nnstudent.volume import Volume

_MOST_VOXELS = 1 << 28  # per file: 1 GB once decoded
_MOST_PACKED = 1000  # pixels per byte: air alone compresses a thousandfold


@dataclass(frozen=True, eq=False)
class Series:
    """A CT series.

    Attributes:
        volume: The volume in HU: int16 if all values are whole and fit, otherwise float32. Its
            axes (x, y, z) run along a row, along a column and across the slices.
        stack: Its slices, and the way back to them.
        warnings: What a reader should know, one line each.
    """

    volume: Volume
    stack: Stack
    warnings: tuple[str, ...]


def read_series(folder: Path, *, series: str | None = None, ask: bool = True) -> Series:
    """Read the CT series of a folder in HU, on its own grid.

    :func:`~nnstudent.io.dicom.find.find_series` says which of several series is chosen,
    :func:`~nnstudent.io.dicom.stack.make_stack` which geometry is corrected and which is refused.

    Args:
        folder: The folder; folders below it are searched too. Or one file of many frames.
        series: Number or UID of the series to take.
        ask: Whether somebody can be asked to name a series if several could be meant. Otherwise,
            one is chosen by a rule.

    Raises:
        InputError: There is no CT, several series could be meant, or a slice cannot be decoded.
        GeometryError: The slices do not make one stack that can be trusted.
        MissingExtraError: pydicom, or a decoder for the pixels, is not installed.
    """
    found = find_series(folder, series=series, ask=ask)
    stack, warnings = _stacked(folder, found)
    with quiet():
        planes = _planes(stack)
    return Series(stack.volume(planes), stack, (*found.warnings, *warnings))


def _stacked(folder: Path, found: FoundSeries) -> tuple[Stack, tuple[str, ...]]:
    """The slices as one stack, and warnings about it."""
    by_uid: dict[tuple[str, int], Slice] = {}
    for item in found.slices:
        same = by_uid.setdefault((item.instance or str(item.path), item.frame), item)
        if np.linalg.norm(same.position - item.position) > SAME_MM:
            raise InputError(
                f"{folder}: {same} and {item} lie at different places and have one SOPInstanceUID; "
                "expected one for each slice, copy the series again"
            )
    try:
        stack = make_stack(folder, found.slices)
    except GeometryError as error:
        if not found.differences:
            raise
        raise GeometryError(f"{error}; the slices differ in {found.differences}") from error
    if found.conflict:
        raise GeometryError(
            f"{folder}: slices of several volumes are mixed, which differ in {found.differences} "
            "and are not each a regular stack; separate them"
        )
    if found.differences:
        return stack, (
            f"the slices differ in {found.differences} and make one stack: taken as one volume",
            *stack.warnings,
        )
    return stack, stack.warnings


def _planes(stack: Stack) -> npt.NDArray[Any]:
    """HU of the slices, (slice, row, column)."""
    whole = all(
        s.slope == round(s.slope) and s.intercept == round(s.intercept) for s in stack.slices
    )
    array = np.empty((len(stack.slices), *stack.slices[0].size), np.int16 if whole else np.float32)
    decoder = _Decoder()
    for place, item in enumerate(stack.slices):
        hu = _hu(decoder(item), item, whole=whole)
        if array.dtype == np.int16 and (hu.min() < -32768 or hu.max() > 32767):
            array = array.astype(np.float32)
        array[place] = hu
    for kept, other in stack.twins:
        if not np.array_equal(
            _hu(decoder(kept), kept, whole=whole), _hu(decoder(other), other, whole=whole)
        ):
            raise GeometryError(
                f"{kept.path.parent}: two different pictures at one place ({kept} and {other}); "
                "expected one acquisition, separate the phases of the series"
            )
    return array


def _hu(pixels: npt.NDArray[Any], item: Slice, *, whole: bool) -> npt.NDArray[Any]:
    if whole:
        return pixels.astype(np.int64) * int(item.slope) + int(item.intercept)
    hu: npt.NDArray[np.float64] = pixels.astype(np.float64) * item.slope + item.intercept
    return hu


class _Decoder:
    """Returns the stored values of slices one by one; a file of many frames is decoded once."""

    def __init__(self) -> None:
        self._pydicom = require("pydicom", extra="dicom", why="reading DICOM")
        self._path: Path | None = None
        self._frames: npt.NDArray[Any] = np.empty(0)

    def __call__(self, item: Slice) -> npt.NDArray[Any]:
        if item.path != self._path:
            self._frames, self._path = self._decode(item.path), item.path
        pixels: npt.NDArray[Any] = self._frames[item.frame]
        if pixels.shape != item.size:
            raise InputError(
                f"{item.path}: holds {pixels.shape} pixels, the header states {item.size}; "
                "copy the series again"
            )
        return pixels

    def _decode(self, path: Path) -> npt.NDArray[Any]:
        dataset = read_dataset(path)
        try:
            syntax = dataset.file_meta.TransferSyntaxUID
            decodable = (
                not syntax.is_encapsulated or self._pydicom.pixels.get_decoder(syntax).is_available
            )
            _check_size(dataset, path)
            if syntax.is_encapsulated and decodable:
                check_frames(dataset, path)
            pixels: npt.NDArray[Any] | None = dataset.pixel_array if decodable else None
        except InputError:
            raise
        except Exception as error:  # each decoder raises its own
            raise InputError(
                f"{path}: the pixels cannot be decoded ({quoted(error)}); copy the series again"
            ) from error
        if pixels is None:
            raise MissingExtraError(
                f"{path}: no decoder for {syntax.name} is installed; "
                "install those that exist with: pip install 'nnstudent[dicom]'"
            )
        return pixels[None] if pixels.ndim == 2 else pixels


def _check_size(dataset: Any, path: Path) -> None:
    """Refuse pixels that take far more memory than any image compressed to this file size."""
    voxels = int(dataset.get("NumberOfFrames") or 1) * dataset.Rows * dataset.Columns
    if voxels > max(_MOST_VOXELS, _MOST_PACKED * path.stat().st_size):
        raise InputError(
            f"{path}: {voxels} pixels in {path.stat().st_size} bytes; "
            "expected a CT, copy the series again"
        )
