"""Recognizes what a file holds by its first bytes rather than by its name."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Literal

Content = Literal[
    "nifti", "pair", "analyze", "mgh", "minc", "nrrd", "metaimage", "dicom", "zip", "other"
]

_HEAD = 544  # bytes: a NIfTI-2 header and its extension flag
PACKED_HEAD = 8 * _HEAD  # bytes, which unpack to as many at least
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"


def content_of(path: Path) -> Content:
    """Recognize what a file holds.

    Args:
        path: A regular file, compressed by gzip or not.

    Returns:
        ``nifti`` for NIfTI-1 or NIfTI-2 in one file, ``pair`` for the header of NIfTI in two files,
        ``analyze`` for the header of an ANALYZE pair, ``mgh``, ``minc``, ``nrrd``, ``metaimage`` or
        ``dicom``, ``zip`` for an archive, ``other`` for anything else.

    Raises:
        OSError: The file cannot be read.
    """
    return content_of_head(head_of(path), suffix=path.suffix)


def content_of_head(head: bytes, *, suffix: str = "") -> Content:
    """Recognize what a file holds by its first bytes, see :func:`content_of`.

    Args:
        head: From :func:`head_of` or :func:`unpacked_head`.
        suffix: The suffix of its name, for formats without a mark of their own.
    """
    suffix = suffix.lower()
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return "nifti"
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        return "pair"
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith(b"NRRD"):
        return "nrrd"
    if is_metaimage(head):
        return "metaimage"
    if head.startswith(_ZIP):
        return "zip"
    # The remaining formats have no unique mark, so first bytes and name have to agree.
    if suffix == ".hdr" and head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return "analyze"
    if suffix == ".mnc" and head.startswith((b"CDF", b"\x89HDF")):
        return "minc"
    if (
        head[:4] == b"\0\0\0\x01"
        and head[20:23] == b"\0\0\0"
        and (suffix in (".mgh", ".mgz") or _is_mgh(head))
    ):
        return "mgh"
    return "other"


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file, decompressed if it is compressed by gzip.

    Bytes that cannot be decompressed are left out.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return unpacked_head(file.read(PACKED_HEAD))


def unpacked_head(head: bytes) -> bytes:
    """Return what :func:`head_of` does from the first :data:`PACKED_HEAD` bytes of a file."""
    if not starts_compressed(head):
        return head[:_HEAD]
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD)
    except zlib.error:
        return b""


def is_metaimage(head: bytes) -> bool:
    """Whether these first bytes of a file begin a MetaImage header."""
    first, equals, _ = head.partition(b"=")
    known = first.strip() in (b"ObjectType", b"NDims", b"Comment")
    return known and bool(equals) and b"NDims" in head


def is_compressed(path: Path) -> bool:
    """Whether a file is compressed by gzip.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return starts_compressed(file.read(2))


def starts_compressed(head: bytes) -> bool:
    """Whether these first bytes of a file begin one that is compressed by gzip."""
    return head.startswith(_GZIP)


def _is_mgh(head: bytes) -> bool:
    """Whether the sizes and the type of voxels are possible in an MGH header."""
    sizes = [int.from_bytes(head[at : at + 4], "big") for at in (4, 8, 12, 16)]
    return all(1 <= size <= 1 << 16 for size in sizes) and head[23:24] in (
        b"\0",
        b"\1",
        b"\3",
        b"\4",
        b"\x0a",
    )
