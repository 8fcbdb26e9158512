"""Voxels behind a text header, as NRRD and MetaImage store them: checked before they are read."""

from __future__ import annotations

import bz2
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError
from nnstudent.types import Float64Array

Packing = Literal["raw", "deflate", "bzip2"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MOST_HEADER = 1 << 20  # bytes; a segmentation of a hundred segments takes 60 kB
_CHUNK = 1 << 20
_GZIP_OR_ZLIB = 47  # zlib's code for recognizing either


@dataclass(frozen=True, eq=False)
class StoredImage:
    """An image whose header has been read.

    Attributes:
        path: The file that holds the header.
        shape: Voxels along (x, y, z), and along further axes if there are any.
        affine: 4×4, from voxel indices (x, y, z) to RAS+ in mm.
        dtype: Type of a voxel as stored.
        data: The file that holds the voxels.
        offset: Where they begin in it, in bytes; -1 if they end with the file.
        packing: How they are compressed.
        unplaced: Whether the header does not state the orientation.
    """

    path: Path
    shape: tuple[int, ...]
    affine: Float64Array
    dtype: np.dtype[Any]
    data: Path
    offset: int = 0
    packing: Packing = "raw"
    unplaced: bool = False

    def get_data_dtype(self) -> np.dtype[Any]:
        """Return the type of a voxel; named as in nibabel's images."""
        return self.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels."""
        return math.prod(self.shape) * self.dtype.itemsize

    def most_bytes(self) -> int:
        """Return the most bytes of voxels that the file can hold."""
        size = self.data.stat().st_size
        # What one byte can expand to: zlib's own limit, and more than bzip2 reaches on any image.
        return size * {"raw": 1, "deflate": 1032, "bzip2": 50_000}[self.packing]

    def values(self) -> npt.NDArray[Any]:
        """Read the voxels.

        Returns:
            Values along (x, y, z), in the machine's own byte order.

        Raises:
            OSError: The file cannot be read.
            EOFError: It is truncated.
            ValueError: It is damaged, or holds more than the header states.
        """
        array = np.empty(self.shape[::-1], self.dtype)
        target = array.reshape(-1).view(np.uint8)
        done = 0
        with self.data.open("rb") as file:
            file.seek(*((self.offset, 0) if self.offset >= 0 else (-self.nbytes, 2)))
            for piece in _pieces(file, self.packing):
                if done + len(piece) > self.nbytes:
                    raise ValueError("more follows than its header states")
                target[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
                done += len(piece)
        if done < self.nbytes:
            raise EOFError(f"{self.nbytes - done} bytes of voxels are missing")
        return array.astype(self.dtype.newbyteorder("="), copy=False).T


def data_beside(path: Path, name: str) -> Path:
    """Return the file of the voxels that a header names.

    Raises:
        InputError: It lies elsewhere than beside the header, or is missing.
    """
    if not name or name != Path(name).name or "\\" in name:
        raise InputError(
            f"{path}: its voxels are in {name!r}; expected one file beside it, "
            "save the image in one file"
        )
    data = path.parent / name
    if not data.is_file():
        raise InputError(f"{path}: its voxels are in {name}, which is missing; copy both files")
    return data


def _pieces(file: BinaryIO, packing: Packing) -> Iterator[bytes]:
    """Yield the voxels of a file piece by piece, to its end."""
    if packing == "raw":
        while piece := file.read(_CHUNK):
            yield piece
        return
    rest = b""
    while rest or (rest := file.read(_CHUNK)):
        unpacking: Any = zlib.decompressobj(_GZIP_OR_ZLIB) if packing == "deflate" else None
        unpacking = unpacking or bz2.BZ2Decompressor()
        yield from _unpacked(file, unpacking, rest)
        rest = unpacking.unused_data.lstrip(b"\0")


def _unpacked(file: BinaryIO, unpacking: Any, packed: bytes) -> Iterator[bytes]:
    """Yield one compressed stream; its checksum is checked at its end."""
    while not unpacking.eof:
        if piece := unpacking.decompress(packed, _CHUNK):
            yield piece
        packed = getattr(unpacking, "unconsumed_tail", b"")
        if not packed and not unpacking.eof and getattr(unpacking, "needs_input", True):
            packed = file.read(_CHUNK)
            if not packed and not piece:
                raise EOFError("the compressed voxels end too early")
