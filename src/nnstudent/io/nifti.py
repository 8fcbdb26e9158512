"""Read what nibabel reads into a :class:`Volume`, and write label maps on the input's own grid and header."""

from __future__ import annotations

import gzip
import logging
import math
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import psutil
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from nnstudent.errors import InputError, quoted
from nnstudent.io.atomic import replacing
from nnstudent.io.content import content_of, head_of, is_compressed
from nnstudent.io.nifti_grid import grid_of
from nnstudent.volume import Grid, Spacing, Volume

log = logging.getLogger(__name__)

SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh", ".hdr", ".img", ".mnc")
_PADDING = 512  # bytes of zeros that may follow the voxels; more are voxels that the header does not tell of
_REST = (
    1 << 20
)  # bytes of a footer that are read to the end for the checksum behind them; unpacked, a bomb has no end
_PACKED = 1032  # bytes that one byte packed by gzip stands for at most
_ROUNDED = 0.03  # how far from a whole number a label may be: half a step of ids up to 15 in 8 bits


def is_image(path: Path) -> bool:
    """Whether the name ends like an image that :func:`read_image` reads; hidden files are none."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def stem(path: Path) -> str:
    """The file's name without the image suffix (``case.nii.gz`` → ``case``)."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def read_grid(path: Path) -> Grid:
    """Read the geometry only.

    Raises:
        InputError: The file is missing, unreadable or not 3D.
        GeometryError: Spacing or affine are unusable, the axes are skewed, or the header contradicts itself.
    """
    return _grid(path, _open(path))[0]


def read_header_spacing(path: Path) -> Spacing:
    """Read the voxel size that the header's own field states, as scripts that ignore the affine do.

    Returns:
        Spacing along (z, y, x) in mm, rounded to single precision; the affine's spacing if the
        field holds no size.

    Raises:
        InputError: See :func:`read_grid`.
        GeometryError: See :func:`read_grid`.
    """
    image = _open(path)
    grid, _ = _grid(path, image)
    z, y, x = (float(np.float32(mm)) for mm in image.header.get_zooms()[:3][::-1])
    return (z, y, x) if min(z, y, x) > 0 else grid.spacing_mm


def is_standard_nifti(path: Path) -> bool:
    """Whether any NIfTI reader finds in this file what :func:`read_image` finds in it.

    That takes a NIfTI file in one piece, compressed if and only if its name says so, of three
    dimensions, whose header states one geometry, in mm, and a usable scale.

    Raises:
        InputError: See :func:`read_grid`.
        GeometryError: See :func:`read_grid`.
    """
    image = _open(path)
    grid, _ = _grid(path, image)
    ending = ".nii.gz" if is_compressed(path) else ".nii"
    return (
        content_of(path) == "nifti"
        and path.name.lower().endswith(ending)
        and len(image.shape) == 3
        and bool(np.allclose(image.affine, grid.affine))
        and bool(np.allclose(image.header.get_zooms()[::-1], grid.spacing_mm, rtol=1e-3))
        and not _scaling(path, image)
    )


def read_image(path: Path) -> Volume:
    """Read an image in its stored units (HU for CT), int16 where the file holds such integers, else float32.

    What the header leaves open and had to be guessed is in the volume's ``warnings``.

    Raises:
        InputError: The file is missing, truncated, longer than its header says, not an image, not 3D, or holds values that
            are not finite.
        GeometryError: Spacing or affine are unusable, or the header contradicts itself.
    """
    image = _open(path)
    grid, warnings = _grid(path, image)
    warnings += _scaling(path, image)
    array = _values(path, image)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise InputError(
            f"{path}: {bad} of {array.size} voxels are NaN or infinite; expected HU everywhere, mend or leave out the file"
        )
    small = np.can_cast(array.dtype, np.int16)
    whole = array.dtype.kind in "iub" and (
        small or (array.min() >= -32768 and array.max() <= 32767)
    )
    return Volume(
        np.ascontiguousarray(array.astype(np.int16 if whole else np.float32, copy=False).T),
        grid,
        warnings,
    )


def read_labels(path: Path) -> Volume:
    """Read a label map as uint8.

    Whole numbers are meant where a scaled header has made 2.99991 of a 3: a value within 0.03 of a
    whole number is that number. Ids up to 15 stored in 8 bits are off by as much.

    Raises:
        InputError: As :func:`read_image`, or a value is not a whole number from 0 to 255.
        GeometryError: As :func:`read_image`.
    """
    image = _open(path)
    grid, warnings = _grid(path, image)
    array = _values(path, image)
    return Volume(np.ascontiguousarray(_whole(path, array).T), grid, warnings)


def write_labels(path: Path, labels: Volume, *, like: Path | None = None) -> None:
    """Write a label map as uint8 NIfTI, whole or not at all.

    Args:
        path: Where to; ends in ``.nii`` or ``.nii.gz``.
        labels: The label map.
        like: The image that was segmented: its header (forms, codes, units, description) is carried over.

    Raises:
        InputError: ``path`` does not end like a NIfTI file.
        GeometryError: ``labels`` is not on the grid of ``like``.
        OutputError: ``path`` cannot be written.
    """
    _write(path, labels, np.uint8, like=like)


def write_image(path: Path, image: Volume) -> None:
    """Write an image as NIfTI in the array's own type (int16 for HU), whole or not at all.

    Raises:
        InputError: ``path`` does not end like a NIfTI file.
        OutputError: ``path`` cannot be written.
    """
    _write(path, image, image.array.dtype, like=None)


def _write(path: Path, volume: Volume, dtype: Any, *, like: Path | None) -> None:
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: an output name ends in .nii or .nii.gz")
    template = _open(like) if like is not None else None
    header = None
    if template is not None:
        if like is not None:
            grid, _ = _grid(like, template)
            grid.require(
                volume.grid,
                what=f"{path}: the label map",
                of=str(like),
                advice="give labels of this image",
            )
        if isinstance(template, nib.Nifti1Image):
            header = template.header.copy()
            header.set_slope_inter(1, 0)
            header["cal_max"], header["cal_min"] = 0, 0
            header.set_data_dtype(dtype)
    affine = volume.grid.affine if header is None or template is None else template.affine
    image = nib.Nifti1Image(volume.array.T.astype(dtype, copy=False), affine, header)
    if header is None:
        image.set_qform(affine, code=1)
        image.set_sform(affine, code=1)
        image.header.set_xyzt_units("mm", "sec")
    with replacing(path) as temporary:
        nib.save(image, temporary)


def _open(path: Path) -> Any:
    """The image with its header read, told by content: a name that ends in another way than it should is no matter."""
    _check_file(path)
    try:
        content = content_of(path)
        if content == "dicom":
            raise InputError(f"{path}: is a DICOM file; give the folder that holds its series")
        if content == "foreign":
            raise InputError(
                f"{path}: is NRRD or MetaImage, which is not read here; convert it to NIfTI"
            )
        kind = _kind(path, content)
        if kind is None:
            return nib.load(path)
        with _stream(path) as stream:
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
        raise InputError(
            f"{path}: cannot be opened as an image ({quoted(error)}); expected NIfTI"
        ) from error


def _check_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: no such file; expected an image that ends in {', '.join(SUFFIXES[:4])}"
        ) from error
    if stat.S_ISDIR(mode):
        raise InputError(
            f"{path}: no such file; expected an image that ends in {', '.join(SUFFIXES[:4])}, and this is a folder"
        )
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{path}: is a pipe or device; expected a file, because an image is read more than once"
        )
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty; expected an image")


def _kind(path: Path, content: str) -> Any:
    """The class of an image that lies in one stream, or None where nibabel finds the files of it."""
    if content == "nifti":
        return nib.Nifti2Image if head_of(path)[4:8] == b"n+2\0" else nib.Nifti1Image
    return nib.MGHImage if content == "mgh" else None


@contextmanager
def _stream(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        if not is_compressed(path):
            yield file
            return
        with gzip.GzipFile(fileobj=file) as stream:
            yield stream  # type: ignore[misc]  # a binary stream all the same


def _grid(path: Path, image: Any) -> tuple[Grid, tuple[str, ...]]:
    grid, warnings = grid_of(path, image, _raw(path))
    _check_size(path, image)
    return grid, warnings


def _raw(path: Path) -> bytes:
    header = path.with_suffix(".hdr")
    return head_of(header if path.suffix.lower() == ".img" and header.is_file() else path)


def _check_size(path: Path, image: Any) -> None:
    """Refuse, before memory is taken, voxels that the file cannot hold or that memory cannot."""
    if not isinstance(image, nib.Nifti1Image | nib.MGHImage):
        return
    size, need = path.stat().st_size, math.prod(image.shape) * image.get_data_dtype().itemsize
    most = size * _PACKED if is_compressed(path) else size
    if need > most:
        raise InputError(
            f"{path}: its header tells of {need:,} bytes of voxels, and the file has {size:,}; "
            "the file is truncated or damaged, copy it again"
        )
    free = psutil.virtual_memory().available
    if need > free:
        raise InputError(
            f"{path}: its voxels take {need / 1e9:.1f} GB and {free / 1e9:.1f} GB of memory are free; cut the image"
        )


def _scaling(path: Path, image: Any) -> tuple[str, ...]:
    """A warning where the scale of the values is no number, so that nibabel leaves them as they are stored."""
    if not isinstance(image, nib.Nifti1Pair):
        return ()
    kind = type(image.header)
    slope = float(kind(_raw(path)[: kind.template_dtype.itemsize], check=False)["scl_slope"])
    return (
        ()
        if math.isfinite(slope)
        else (
            f"its header states the scale of the values as {slope}; the stored values were taken",
        )
    )


def _values(path: Path, image: Any) -> npt.NDArray[Any]:
    kind = image.get_data_dtype()
    if kind.kind not in "iubf":
        raise InputError(f"{path}: voxels are of type {kind}; expected one number a voxel")
    try:
        if isinstance(image, nib.Nifti1Image | nib.MGHImage):
            with _stream(path) as stream:
                opened = type(image).from_stream(stream)
                array = _stored(opened)
                stream.seek(
                    opened.dataobj.offset + math.prod(image.shape) * kind.itemsize
                )  # a mapped file was not read
                _check_rest(stream, footer=isinstance(image, nib.MGHImage))
        else:
            array = _stored(image)
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise InputError(
            f"{path}: the voxels cannot be read ({quoted(error)}); the file is truncated or damaged, copy it again"
        ) from error
    values: npt.NDArray[Any] = array
    while values.ndim > 3:
        values = values[..., 0]
    return values


def _check_rest(stream: IO[bytes], *, footer: bool) -> None:
    """See that nothing follows the voxels, and with that read the checksum of what is compressed, before which nibabel stops.

    With another number of voxels a row than the header says, every row is shifted against the one before.

    Raises:
        ValueError: More follows.
    """
    most = _REST if footer else _PADDING
    rest = stream.read(most)
    if len(rest) == most or (not footer and rest.strip(b"\0")):
        raise ValueError("more follows than its header tells of")


def _whole(path: Path, array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Label ids as uint8, plane by plane: rounding a whole scan at once would take its memory again."""
    if array.dtype == np.uint8:
        return array
    labels = np.empty(array.shape, np.uint8, order="F")
    for k in range(array.shape[2]):
        plane = array[..., k]
        with np.errstate(invalid="ignore", over="ignore"):  # what does not fit is found and named
            rounded = np.rint(plane) if plane.dtype.kind == "f" else plane
            labels[..., k] = rounded.astype(np.uint8)
            # written so that NaN is wrong, too
            wrong = ~(np.abs(plane - labels[..., k].astype(np.float64)) <= _ROUNDED)
        if wrong.any():
            value = plane[wrong].flat[0]
            raise InputError(
                f"{path}: holds the value {value}; a label map has whole numbers from 0 to 255 only"
            )
    return labels


def _stored(image: Any) -> npt.NDArray[Any]:
    proxy = image.dataobj
    scaled = getattr(proxy, "slope", 1.0) not in (1.0, None) or getattr(
        proxy, "inter", 0.0
    ) not in (0.0, None)
    array: npt.NDArray[Any] = (
        image.get_fdata(dtype=np.float32, caching="unchanged") if scaled else np.asanyarray(proxy)
    )
    return array
