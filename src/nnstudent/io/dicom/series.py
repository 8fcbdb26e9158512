"""A CT series of DICOM files to a volume in HU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.errors import GeometryError, InputError, MissingExtraError, quoted, require
from nnstudent.io.dicom.codestream import check_frames
from nnstudent.io.dicom.find import Found, find_series, quiet
from nnstudent.io.dicom.read import read
from nnstudent.io.dicom.stack import SAME_MM, Slice, Stack, make_stack
from nnstudent.volume import Volume

_MOST_VOXELS = 1 << 28  # of a file: 1 GB as it is decoded
_MOST_PACKED = 1000  # pixels a byte: air alone is packed a thousandfold


@dataclass(frozen=True, eq=False)
class Series:
    """A CT series.

    Attributes:
        volume: In HU, int16 where all are whole and fit, else float32; axes (x, y, z) along a row, along a column, across the slices.
        stack: Its slices, and the way back to them.
        warnings: What a reader should know, a line each.
    """

    volume: Volume
    stack: Stack
    warnings: tuple[str, ...]


def read_series(folder: Path, *, series: str | None = None, ask: bool = True) -> Series:
    """Read the CT series of a folder as HU, on its own grid.

    Which series is taken of several is told by :func:`~nnstudent.io.dicom.find.find_series`; what of its geometry is put right
    and what is refused by :func:`~nnstudent.io.dicom.stack.make_stack`.

    Args:
        folder: The folder; folders below it are searched too.
        series: Number or UID of the series to take.
        ask: Whether somebody can be asked to name a series if several could be meant; else one is taken by a rule.

    Raises:
        InputError: There is no CT, several series could be meant, or a slice cannot be decoded.
        GeometryError: The slices are no one stack that can be trusted.
        MissingExtraError: pydicom, or what decodes the pixels, is not installed.
    """
    found = find_series(folder, series=series, ask=ask)
    stack, warnings = _stacked(folder, found)
    with quiet():
        planes = _planes(stack)
    return Series(stack.volume(planes), stack, (*found.warnings, *warnings))


def _stacked(folder: Path, found: Found) -> tuple[Stack, tuple[str, ...]]:
    """The slices as one stack, and what is to be told of it."""
    by_uid: dict[tuple[str, int], Slice] = {}
    for item in found.slices:
        same = by_uid.setdefault((item.instance or str(item.path), item.frame), item)
        if np.linalg.norm(same.position - item.position) > SAME_MM:
            raise InputError(
                f"{folder}: {same} and {item} lie at different places and have one SOPInstanceUID; expected one for each slice, "
                "copy the series again"
            )
    try:
        stack = make_stack(folder, found.slices)
    except GeometryError as error:
        if not found.differ:
            raise
        raise GeometryError(f"{error}; the slices differ in {found.differ}") from error
    if found.conflict:
        raise GeometryError(
            f"{folder}: slices of several volumes are mixed, which differ in {found.differ} and are not each a regular stack; separate them"
        )
    if found.differ:
        return stack, (
            f"the slices differ in {found.differ} and make one stack: taken for one volume",
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
    """Stored values of one slice after another; a file of many frames is decoded once."""

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
                f"{item.path}: {pixels.shape} pixels, its header says {item.size}; copy the series again"
            )
        return pixels

    def _decode(self, path: Path) -> npt.NDArray[Any]:
        dataset = read(path)
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
        except (
            Exception
        ) as error:  # each decoder raises its own; whatever it is, this slice cannot be had
            raise InputError(
                f"{path}: the pixels cannot be decoded ({quoted(error)}); copy the series again"
            ) from error
        if pixels is None:
            raise MissingExtraError(
                f"{path}: no decoder for {syntax.name} is installed here; pip install 'nnstudent[dicom]' brings those there are"
            )
        return pixels[None] if pixels.ndim == 2 else pixels


def _check_size(dataset: Any, path: Path) -> None:
    """Refuse pixels that would take far more memory than any image packed into a file of this size."""
    voxels = int(dataset.get("NumberOfFrames") or 1) * dataset.Rows * dataset.Columns
    if voxels > max(_MOST_VOXELS, _MOST_PACKED * path.stat().st_size):
        raise InputError(
            f"{path}: {voxels} pixels in {path.stat().st_size} bytes; expected a CT, copy the series again"
        )
