"""Reads DICOM-SEG and RTSTRUCT of any maker: the regions by name, each as a mask on a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.errors import GeometryError, InputError, quoted, require
from nnstudent.io.dicom.read import kind_of, quiet, read_dataset
from nnstudent.types import Float64Array, MaskArray
from nnstudent.volume import Grid, Volume

SEG = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
RTSTRUCT = ("1.2.840.10008.5.1.4.1.1.481.3",)
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Contours that enclose something, and others. The first two mean the same here: a voxel is inside
# if it is within an odd number of contours.
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_OPEN = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
_NEAR = 0.1  # of a voxel: how far two grids may be apart
_IN_PLANE = 0.5  # of a slice: how far a contour may lie from the middle of one


@dataclass(frozen=True)
class Structures:
    """The regions of one object.

    Attributes:
        path: The object.
        names: The name of each region as its maker wrote it, in the object's order.
        read: Returns the mask of a region, uint8 of 0 and 1, on the grid that was asked for.
    """

    path: Path
    names: tuple[str, ...]
    read: Callable[[str], Volume]


def is_structures(path: Path) -> bool:
    """Whether a file is a DICOM-SEG or RTSTRUCT, by its content.

    Raises:
        InputError: It is DICOM and damaged.
        MissingExtraError: It is DICOM, and pydicom is not installed.
        OSError: It cannot be read.
    """
    return path.is_file() and kind_of(path) == "dicom" and _kind(_header(path)) != ""


def read_structures(path: Path, *, onto: Grid | None = None) -> Structures:
    """Open a DICOM-SEG or RTSTRUCT.

    Args:
        path: The file.
        onto: The grid of the masks, that of the image. None for the object's own, which only a
            DICOM-SEG has: that of its frames, from the first to the last.

    Raises:
        InputError: It is neither, is malformed or empty, or an RTSTRUCT is given without a grid.
        GeometryError: Its frames or contours do not lie on the slices of one stack.
        MissingExtraError: highdicom or pydicom is not installed.
    """
    with quiet():
        dataset = read_dataset(path)
        kind = _kind(dataset)
        if kind == "seg":
            return _seg(path, onto)
        if kind != "rtstruct":
            raise InputError(f"{path}: is neither a DICOM-SEG nor an RTSTRUCT")
        if onto is None:
            raise InputError(
                f"{path}: an RTSTRUCT has contours only; name the image that they were drawn on "
                "with --like"
            )
        return _rtstruct(path, dataset, onto)


def region_names(path: Path) -> tuple[str, ...]:
    """Return the names of the regions of a DICOM-SEG or RTSTRUCT, without their pixels.

    Raises:
        InputError: It is neither, or malformed.
        MissingExtraError: pydicom is not installed.
    """
    with quiet():
        dataset = read_dataset(path)
        try:
            if _kind(dataset) == "seg":
                names = [str(item.SegmentLabel) for item in dataset.SegmentSequence]
            else:
                drawn = {
                    int(item.ReferencedROINumber)
                    for item in dataset.get("ROIContourSequence") or ()
                    if item.get("ContourSequence")
                }
                names = [
                    str(roi.ROIName)
                    for roi in dataset.StructureSetROISequence or ()
                    if int(roi.ROINumber) in drawn
                ]
        except Exception as error:  # a malformed object makes the library raise anything
            raise InputError(
                f"{path}: a malformed DICOM object ({type(error).__name__})"
            ) from error
    return _unique(path, names)


def _header(path: Path) -> Any:
    pydicom = require("pydicom", extra="dicom", why="reading DICOM")
    with quiet():
        try:
            return pydicom.dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
        except Exception as error:  # a malformed file makes the library raise anything
            raise InputError(f"{path}: damaged DICOM ({type(error).__name__})") from error


def _kind(dataset: Any) -> str:
    uid = str(dataset.get("SOPClassUID") or "")
    return "seg" if uid in SEG else "rtstruct" if uid in RTSTRUCT else ""


def _unique(path: Path, names: list[str]) -> tuple[str, ...]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: two regions are called {twice!r}; rename one")
    if not names:
        raise InputError(f"{path}: holds no region")
    return tuple(names)


def _seg(path: Path, onto: Grid | None) -> Structures:
    hd: Any = require("highdicom", extra="dicom", why="reading DICOM-SEG")
    try:
        seg = hd.seg.segread(path)
        numbers = {
            str(seg.get_segment_description(number).segment_label): int(number)
            for number in seg.segment_numbers
        }
        labels = [str(seg.get_segment_description(n).segment_label) for n in seg.segment_numbers]
    except Exception as error:  # a malformed object makes the library raise anything
        raise InputError(f"{path}: a malformed DICOM-SEG ({quoted(error)})") from error

    def read(name: str) -> Volume:
        with quiet():
            try:
                found = seg.get_volume(
                    segment_numbers=[numbers[name]], combine_segments=True, relabel=True
                )
            except Exception as error:  # frames that make no stack, or pixels that do not decode
                raise GeometryError(
                    f"{path}: its frames make no regular stack ({quoted(error)}); "
                    "segment the series again, or convert the object"
                ) from error
        affine = _TO_RAS @ np.asarray(found.affine)[:, [2, 1, 0, 3]]
        mask = Volume(np.ascontiguousarray(found.array > 0).astype(np.uint8), _grid(found, affine))
        return mask if onto is None else _placed(path, mask, onto)

    return Structures(path, _unique(path, labels), read)


def _grid(found: Any, affine: Float64Array) -> Grid:
    z, y, x = found.array.shape
    return Grid((z, y, x), affine)


def _placed(path: Path, mask: Volume, onto: Grid) -> Volume:
    """A mask on a part of a grid, on all of it."""
    turned = mask.reoriented(onto.axcodes)
    step = np.linalg.inv(onto.affine) @ turned.grid.affine
    first = np.rint(step[:3, 3]).astype(int)
    far = np.abs(step[:3, :3] - np.eye(3)).max() * max(turned.grid.shape)
    if far > _NEAR * 10 or np.abs(step[:3, 3] - first).max() > _NEAR:
        raise GeometryError(
            f"{path}: lies on another grid than the image ({turned.grid}, not {onto}); "
            "name the image that it was made from"
        )
    array = np.zeros(onto.shape, np.uint8)
    into, of = [], []
    for start, have, room in zip(first[::-1], turned.grid.shape, onto.shape, strict=True):
        low, high = max(0, int(start)), min(room, int(start) + have)
        into.append(slice(low, max(low, high)))
        of.append(slice(low - int(start), max(low, high) - int(start)))
    array[tuple(into)] = turned.array[tuple(of)]
    if np.count_nonzero(array) < np.count_nonzero(turned.array):
        raise GeometryError(f"{path}: reaches beyond the image; name the image it was made from")
    return Volume(array, onto)


def _rtstruct(path: Path, dataset: Any, onto: Grid) -> Structures:
    try:
        names = {
            int(roi.ROINumber): str(roi.ROIName) for roi in dataset.StructureSetROISequence or ()
        }
        contours: dict[str, list[Float64Array]] = {}
        for item in dataset.get("ROIContourSequence") or ():
            name = names[int(item.ReferencedROINumber)]
            rings = contours.setdefault(name, [])
            for contour in item.get("ContourSequence") or ():
                kind = str(contour.ContourGeometricType)
                if kind in _CLOSED:
                    rings.append(_ring(path, contour, name))
                elif kind not in _OPEN:
                    raise InputError(
                        f"{path}: a contour of {name!r} is of the type {kind!r}; expected one of "
                        f"{', '.join(_CLOSED + _OPEN)}"
                    )
    except InputError:
        raise
    except Exception as error:  # a malformed object makes the library raise anything
        raise InputError(f"{path}: a malformed RTSTRUCT ({type(error).__name__})") from error
    filled: Mapping[str, list[Float64Array]] = {name: r for name, r in contours.items() if r}

    def read(name: str) -> Volume:
        return Volume(_fill(path, filled[name], onto).astype(np.uint8), onto)

    return Structures(path, _unique(path, [n for n in names.values() if n in filled]), read)


def _ring(path: Path, contour: Any, name: str) -> Float64Array:
    points = np.array(contour.ContourData, np.float64).reshape(-1, 3)
    stated = contour.get("NumberOfContourPoints")
    if not len(points) or (stated is not None and int(stated) != len(points)):
        raise InputError(
            f"{path}: a contour of {name!r} has {len(points)} points, and says {stated}; "
            "is the object damaged?"
        )
    if not np.isfinite(points).all():
        raise InputError(f"{path}: a contour of {name!r} has points that are no numbers")
    return points


def _fill(path: Path, rings: list[Float64Array], grid: Grid) -> MaskArray:
    """Voxels whose centers are inside an odd number of contours of their slice."""
    mask = np.zeros(grid.shape, bool)
    inverse = np.linalg.inv(grid.affine) @ _TO_RAS
    for ring in rings:
        index = ring @ inverse[:3, :3].T + inverse[:3, 3]
        across = int(np.ptp(index, axis=0).argmin())
        k = round(float(index[:, across].mean()))
        if np.abs(index[:, across] - k).max() > _IN_PLANE or across != 2:
            raise GeometryError(
                f"{path}: a contour does not lie in a slice of the image; "
                "name the image that it was drawn on"
            )
        if not 0 <= k < grid.shape[0]:
            raise GeometryError(f"{path}: a contour lies beyond the image; name the right image")
        mask[k] ^= inside(index[:, :2], (grid.shape[1], grid.shape[2]))
    return mask


def inside(ring: Float64Array, shape: tuple[int, int]) -> MaskArray:
    """Return which pixel centers are inside a closed polygon, by the rule of odd crossings.

    Args:
        ring: Its corners, (n, 2) as (column, row); the last is joined to the first.
        shape: Rows, columns.
    """
    rows, columns = shape
    mask = np.zeros((rows, columns + 1), np.int64)
    x0, y0 = ring.T
    x1, y1 = np.roll(ring, -1, axis=0).T
    low, high = np.minimum(y0, y1), np.maximum(y0, y1)
    for row in range(max(0, int(np.ceil(low.min()))), min(rows - 1, int(high.max())) + 1):
        # An edge counts at its lower end and not at its upper one, so that corners count once.
        hit = (low <= row) & (row < high)
        at = x0[hit] + (row - y0[hit]) / (y1[hit] - y0[hit]) * (x1[hit] - x0[hit])
        first = np.clip(np.ceil(at), 0, columns).astype(int)
        np.add.at(mask[row], first, 1)
    odd: MaskArray = np.cumsum(mask, axis=1)[:, :columns] % 2 == 1
    return odd
