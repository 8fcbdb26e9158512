"""Reads the headers of NRRD (.nrrd, .nhdr, .seg.nrrd)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.errors import InputError, quoted
from nnstudent.io.stored import LPS_TO_RAS, MOST_HEADER, Packing, StoredImage, data_beside
from nnstudent.types import Float64Array

_TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1",
    "uchar": "u1", "unsigned char": "u1", "uint8": "u1", "uint8_t": "u1",
    "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2",
    "int16": "i2", "int16_t": "i2",
    "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2",
    "uint16_t": "u2",
    "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4",
    "uint": "u4", "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4",
    "longlong": "i8", "long long": "i8", "long long int": "i8", "signed long long": "i8",
    "signed long long int": "i8", "int64": "i8", "int64_t": "i8",
    "ulonglong": "u8", "unsigned long long": "u8", "unsigned long long int": "u8",
    "uint64": "u8", "uint64_t": "u8",
    "float": "f4", "double": "f8",
}  # fmt: skip
_PACKINGS: dict[str, Packing] = {
    "raw": "raw", "gzip": "deflate", "gz": "deflate", "bzip2": "bzip2", "bz2": "bzip2",
}  # fmt: skip
_LPS, _RAS, _LAS = (LPS_TO_RAS, np.eye(4), np.diag([-1.0, 1.0, 1.0, 1.0]))
_SPACES = {
    "left-posterior-superior": _LPS, "lps": _LPS,
    "right-anterior-superior": _RAS, "ras": _RAS,
    "left-anterior-superior": _LAS, "las": _LAS,
}  # fmt: skip
_BYTES = re.compile(rb"^type:\s*(u|un|)(signed |)(char|int8(_t)?)\s*$", re.M)
_SEGMENT = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer|ID)")


def stores_bytes(head: bytes) -> bool:
    """Whether a header states voxels of 8 bits."""
    return bool(_BYTES.search(head.replace(b"\r", b"")))


def open_nrrd(path: Path) -> StoredImage:
    """Read the header of an NRRD file.

    Raises:
        InputError: The header is malformed, or states an image that is not supported.
        OSError: The file cannot be read.
    """
    header, offset = _header(path)
    sizes = [int(n) for n in np.atleast_1d(header.get("sizes", []))]
    if not sizes or min(sizes) < 1 or header.get("dimension") != len(sizes):
        raise InputError(
            f"{path}: its sizes are {sizes} with dimension {header.get('dimension')}; "
            "expected a size for each dimension"
        )
    letters = _TYPES.get(str(header.get("type", "")).lower())
    if letters is None:
        raise InputError(f"{path}: its type is {header.get('type')!r}; expected numbers")
    packing = _PACKINGS.get(str(header.get("encoding", "")).lower())
    if packing is None:
        raise InputError(
            f"{path}: its encoding is {header.get('encoding')!r}; "
            f"expected one of {', '.join(_PACKINGS)}"
        )
    layers, axes = _axes(path, header, sizes)
    if layers > 1:
        raise InputError(
            f"{path}: has {layers} layers or components; expected one number per voxel "
            "(in 3D Slicer, export a label map whose segments do not overlap)"
        )
    name = header.get("data file", header.get("datafile"))
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    if skip < -1 or int(header.get("line skip", header.get("lineskip", 0))) != 0:
        raise InputError(f"{path}: skips lines before its voxels; save it without")
    if skip == -1 and packing != "raw":
        raise InputError(f"{path}: its byte skip is -1 with compressed voxels; save it again")
    affine, unplaced = _affine(path, header, axes)
    return StoredImage(
        path,
        tuple(sizes[axis] for axis in axes),
        affine,
        np.dtype((">" if str(header.get("endian", "")).lower() == "big" else "<") + letters),
        path if name is None else data_beside(path, str(name)),
        -1 if skip == -1 else skip + (offset if name is None else 0),
        packing,
        unplaced=unplaced,
    )


def segment_names(path: Path) -> dict[str, int]:
    """Return the names that a segmentation of 3D Slicer gives to its values; empty if none.

    Raises:
        InputError: The header is malformed.
        OSError: The file cannot be read.
    """
    segments: dict[str, dict[str, str]] = {}
    for key, value in _header(path)[0].items():
        if match := _SEGMENT.fullmatch(str(key)):
            segments.setdefault(match[1], {})[match[2]] = str(value)
    return {
        str(item.get("ID" if identified else "Name")): int(item["LabelValue"])
        for item in segments.values()
        if item.get("LabelValue", "").isdecimal()
        for identified in (not item.get("Name"),)
    }


def _header(path: Path) -> tuple[Mapping[str, Any], int]:
    """The fields, and where the header ends, in bytes."""
    import nrrd  # slow to import

    with path.open("rb") as file:
        head = file.read(MOST_HEADER)
    ends = [at + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if (at := head.find(mark)) >= 0]
    if not ends and len(head) == MOST_HEADER:
        raise InputError(f"{path}: its NRRD header has no end; the file is damaged")
    end = min(ends, default=len(head))  # a header of its own file may end with the file
    try:
        fields: Mapping[str, Any] = nrrd.read_header(head[:end].decode("latin-1").splitlines(True))
    except Exception as error:  # a malformed header makes the library raise anything
        raise InputError(
            f"{path}: its NRRD header is malformed ({quoted(error)}); correct or convert the file"
        ) from error
    return fields, end


def _axes(path: Path, header: Mapping[str, Any], sizes: list[int]) -> tuple[int, list[int]]:
    """How many numbers each voxel has, and which axes are those of space."""
    kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    directions = header.get("space directions")
    axes = [axis for axis in range(len(sizes)) if not kinds or kinds[axis : axis + 1] != ["list"]]
    if directions is not None:
        rows = list(directions)
        if len(rows) != len(sizes):
            raise InputError(f"{path}: has {len(rows)} space directions for {len(sizes)} axes")
        axes = [
            axis
            for axis in axes
            if rows[axis] is not None and np.isfinite(np.asarray(rows[axis], float)).all()
        ]
    return int(np.prod([sizes[axis] for axis in range(len(sizes)) if axis not in axes])), axes


def _affine(path: Path, header: Mapping[str, Any], axes: list[int]) -> tuple[Float64Array, bool]:
    """The affine to RAS+, mm, and whether the header does not state the orientation."""
    own, space = np.eye(4), str(header.get("space", "")).lower()
    directions, used = header.get("space directions"), min(len(axes), 3)
    units = {str(unit).strip().lower() for unit in header.get("space units", [])}
    if units - {"mm", "", "millimeter", "millimeters"}:
        raise InputError(f"{path}: its space units are {', '.join(sorted(units))}; expected mm")
    if space and space not in _SPACES:
        raise InputError(
            f"{path}: its space is {space!r}; expected left-posterior-superior or "
            "right-anterior-superior"
        )
    if directions is not None:
        rows = [np.asarray(directions[axis], float) for axis in axes[:used]]
        if any(row.shape != (3,) for row in rows):
            raise InputError(f"{path}: its space directions are not of three numbers each")
        own[:3, :used] = np.stack(rows, axis=1)
    elif "spacings" in header:
        spacings = np.atleast_1d(np.asarray(header["spacings"], float))
        own[range(used), range(used)] = [spacings[axis] for axis in axes[:used]]
    else:
        raise InputError(
            f"{path}: its header states no spacing; expected space directions or spacings"
        )
    origin = header.get("space origin")
    if origin is not None:
        if np.shape(origin) != (3,):
            raise InputError(f"{path}: its space origin is not of three numbers")
        own[:3, 3] = origin
    affine: Float64Array = _SPACES.get(space, _LPS) @ own
    return affine, not space or directions is None
