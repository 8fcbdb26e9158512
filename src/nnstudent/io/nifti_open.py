"""Opens image files by their content: whatever a file is named, what it holds is read.

This is the only module that opens images; nibabel itself would go by the name.
"""

from __future__ import annotations

import gzip
import math
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import psutil
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from nnstudent.errors import InputError, quoted
from nnstudent.io.content import content_of_head, head_of, is_compressed, starts_compressed
from nnstudent.io.metaimage import open_metaimage
from nnstudent.io.nifti_grid import grid_of
from nnstudent.io.nrrd_header import open_nrrd
from nnstudent.io.stored import StoredImage
from nnstudent.volume import Grid

_MOST_RATIO = 1032  # bytes that one byte compressed by gzip can expand to


def open_image(path: Path) -> Any:
    """Open an image and read its header.

    Returns:
        nibabel's image, or a :class:`~nnstudent.io.stored.StoredImage`.

    Raises:
        InputError: The file is missing, empty, not a regular file, or not an image.
    """
    _check_file(path)
    try:
        head = head_of(path)
        content = content_of_head(head, suffix=path.suffix)
        if content == "dicom":
            raise InputError(f"{path}: is a DICOM file; give the folder of its series")
        if content == "nrrd":
            return open_nrrd(path)
        if content == "metaimage":
            return open_metaimage(path)
        kind = _kind(head, content)
        if kind is None:
            return nib.load(path)
        with open_stream(path) as stream:
            return kind.from_stream(stream)
    except (
        ImageFileError,
        HeaderDataError,
        OSError,
        EOFError,
        ValueError,
        OverflowError,
        zlib.error,
    ) as error:
        reason = quoted(error).replace(str(path), path.name)
        raise InputError(
            f"{path}: cannot be opened as an image ({reason}); expected NIfTI, NRRD or MetaImage, "
            "convert the file or leave it out"
        ) from error


def _check_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: no such file; expected an image, such as a NIfTI file"
        ) from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: is a folder; expected an image, such as a NIfTI file")
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{path}: is a pipe or device; expected a file, because images are read more than once"
        )
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty; expected an image")


def _kind(head: bytes, content: str) -> Any:
    """The class of an image in one stream; None if nibabel has to find the image's files."""
    if content == "nifti":
        return nib.Nifti2Image if head[4:8] == b"n+2\0" else nib.Nifti1Image
    return nib.MGHImage if content == "mgh" else None


@contextmanager
def open_stream(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, decompressed if it is compressed by gzip."""
    with path.open("rb") as file:
        compressed = starts_compressed(file.read(2))
        file.seek(0)
        if not compressed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as stream:
            yield stream  # type: ignore[misc]  # it is a binary stream


def read_grid_of(path: Path, image: Any) -> tuple[Grid, tuple[str, ...]]:
    """Return the grid of an opened image, with a warning for each guess, and check its size.

    Raises:
        InputError: The image is not 3D, or its voxels do not fit into the file or the memory.
        GeometryError: Spacing or affine are unusable, or the header contradicts itself.
    """
    grid, warnings = grid_of(path, image, raw=raw_header(path))
    _check_size(path, image)
    return grid, warnings


def raw_header(path: Path) -> bytes:
    """Return the first bytes of the file that holds an image's header."""
    header = path.with_suffix(".hdr")
    return head_of(header if path.suffix.lower() == ".img" and header.is_file() else path)


def _check_size(path: Path, image: Any) -> None:
    """Refuse voxels that the file or the memory cannot hold, before memory is allocated."""
    if not isinstance(image, nib.Nifti1Image | nib.MGHImage | StoredImage):
        return
    size, need = path.stat().st_size, math.prod(image.shape) * image.get_data_dtype().itemsize
    most = size * _MOST_RATIO if is_compressed(path) else size
    if isinstance(image, StoredImage):
        size, most = image.data.stat().st_size, image.most_bytes()
    if need > most:
        raise InputError(
            f"{path}: its header states {need:,} bytes of voxels, but the file has {size:,}; "
            "the file is truncated or damaged, copy it again"
        )
    free = psutil.virtual_memory().available
    if need > free:
        raise InputError(
            f"{path}: its voxels take {need / 1e9:.1f} GB, but only {free / 1e9:.1f} GB of memory "
            "are free; crop the image"
        )
