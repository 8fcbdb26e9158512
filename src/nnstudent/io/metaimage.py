"""Reads the headers of MetaImage (.mha, .mhd), and writes label maps as .mha."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from nnstudent.errors import InputError
from nnstudent.io.atomic import replacing
from nnstudent.io.stored import LPS_TO_RAS, MOST_HEADER, StoredImage, data_beside
from nnstudent.types import Float64Array
from nnstudent.volume import Volume

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2",
    "MET_INT": "i4", "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_LAST = "ElementDataFile"  # the key after which the voxels follow
_MATRIX = ("TransformMatrix", "Orientation", "Rotation")
_SPACING = ("ElementSpacing", "ElementSize")
_PLACE = ("Offset", "Position", "Origin")


def stores_bytes(head: bytes) -> bool:
    """Whether a header states voxels of 8 bits."""
    return b"MET_UCHAR" in head or b"MET_CHAR" in head


def open_metaimage(path: Path) -> StoredImage:
    """Read the header of a MetaImage.

    Raises:
        InputError: The header is malformed, or states an image that is not supported.
        OSError: The file cannot be read.
    """
    fields, offset = _fields(path)
    kind = fields.get("ObjectType", "Image")
    if kind.lower() != "image":
        raise InputError(f"{path}: its ObjectType is {kind}; expected an image")
    if _number(path, fields, "ElementNumberOfChannels", default=1) != 1:
        raise InputError(f"{path}: has several channels; expected one number per voxel")
    if fields.get("BinaryData", "True").lower() != "true":
        raise InputError(f"{path}: its voxels are written as text; save it as binary")
    shape = tuple(int(n) for n in _numbers(path, fields, "DimSize"))
    dimensions = _number(path, fields, "NDims")
    if len(shape) != dimensions or not 1 <= dimensions <= 10 or min(shape) < 1:
        raise InputError(
            f"{path}: its DimSize is {fields.get('DimSize')!r} with NDims {dimensions}; "
            "expected a size for each dimension"
        )
    letters = _TYPES.get(fields.get("ElementType", ""))
    if letters is None:
        raise InputError(
            f"{path}: its ElementType is {fields.get('ElementType')!r}; "
            f"expected one of {', '.join(_TYPES)}"
        )
    swapped = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    name, header = fields[_LAST], _number(path, fields, "HeaderSize", default=0)
    local = name.lower() == "local"
    return StoredImage(
        path,
        shape,
        _affine(path, fields, dimensions),
        np.dtype((">" if swapped.lower() == "true" else "<") + letters),
        path if local else data_beside(path, name),
        offset + max(header, 0) if local else header,
        "deflate" if fields.get("CompressedData", "False").lower() == "true" else "raw",
        unplaced=not any(key in fields for key in _MATRIX),
    )


def write_metaimage(path: Path, labels: Volume) -> None:
    """Write a label map as uint8, compressed, in one file; whole or not at all.

    Raises:
        InputError: ``path`` does not end in ``.mha``.
        OutputError: ``path`` cannot be written.
    """
    if path.suffix.lower() != ".mha":
        raise InputError(f"{path}: a MetaImage in one file ends in .mha")
    lps = LPS_TO_RAS @ labels.grid.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    packed = zlib.compress(labels.array.astype(np.uint8, copy=False).tobytes(), 6)
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(packed)),
        "TransformMatrix": _words((lps[:3, :3] / spacing).T),
        "Offset": _words(lps[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "AnatomicalOrientation": labels.grid.axcodes,
        "ElementSpacing": _words(spacing),
        "DimSize": " ".join(map(str, labels.grid.shape[::-1])),
        "ElementType": "MET_UCHAR",
        _LAST: "LOCAL",
    }
    text = "".join(f"{key} = {value}\n" for key, value in fields.items())
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(text.encode("ascii"))
        file.write(packed)


def _words(numbers: Float64Array) -> str:
    return " ".join(repr(float(number)) for number in numbers.ravel())


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The fields of a header, and where it ends, in bytes."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        left = MOST_HEADER
        while _LAST not in fields and (line := file.readline(left)):
            left -= len(line)
            key, equals, value = line.decode("latin-1").partition("=")
            if not equals or not line.endswith(b"\n") or left <= 0:
                break
            if key.strip() in fields:
                raise InputError(f"{path}: states {key.strip()} twice; correct its header")
            fields[key.strip()] = value.strip()
        if _LAST not in fields:
            raise InputError(
                f"{path}: its MetaImage header has no {_LAST}; the file is truncated or damaged"
            )
        return fields, file.tell()


def _affine(path: Path, fields: dict[str, str], dimensions: int) -> Float64Array:
    """The affine to RAS+, mm; an image of more dimensions is placed by its first three."""
    used = min(dimensions, 3)
    if not (key := next((key for key in _SPACING if key in fields), "")):
        raise InputError(f"{path}: its header states no spacing; expected {' or '.join(_SPACING)}")
    spacing = np.array(_numbers(path, fields, key, count=dimensions))
    matrix = np.eye(dimensions)
    if key := next((key for key in _MATRIX if key in fields), ""):
        numbers = _numbers(path, fields, key, count=dimensions**2)
        matrix = np.array(numbers).reshape(dimensions, dimensions).T
    place = np.zeros(dimensions)
    if key := next((key for key in _PLACE if key in fields), ""):
        place = np.array(_numbers(path, fields, key, count=dimensions))
    lps = np.eye(4)
    lps[:used, :used] = (matrix * spacing)[:used, :used]
    lps[:used, 3] = place[:used]
    affine: Float64Array = LPS_TO_RAS @ lps
    return affine


def _numbers(
    path: Path, fields: dict[str, str], key: str, *, count: int | None = None
) -> list[float]:
    words = fields.get(key, "").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if not numbers or not np.isfinite(numbers).all() or count not in (None, len(numbers)):
        expected = "numbers" if count is None else f"{count} numbers"
        raise InputError(f"{path}: its {key} is {fields.get(key, '')[:60]!r}; expected {expected}")
    return numbers


def _number(path: Path, fields: dict[str, str], key: str, *, default: int | None = None) -> int:
    if default is not None and key not in fields:
        return default
    return int(_numbers(path, fields, key, count=1)[0])
