"""Reads images and label maps as :class:`~nnstudent.volume.Volume`, and writes them as NIfTI.

Files are recognized by their content. nibabel reads NIfTI, MGH, ANALYZE and MINC; NRRD and
MetaImage are read by modules of their own; an archive that holds one image is unpacked first.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError, quoted
from nnstudent.io.atomic import replacing
from nnstudent.io.content import content_of, is_compressed
from nnstudent.io.nifti_grid import stored_field
from nnstudent.io.nifti_open import open_image, open_stream, raw_header, read_grid_of
from nnstudent.io.stored import StoredImage
from nnstudent.io.unpacked import unpacked_image
from nnstudent.types import LabelArray
from nnstudent.volume import Grid, Spacing, Volume

SUFFIXES = (
    ".nii.gz", ".nii", ".mgz", ".mgh", ".hdr", ".img", ".mnc",
    ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd",
)  # fmt: skip
ARCHIVE = ".zip"
_MOST_PADDING = 512  # Zero bytes that may follow the voxels; more are voxels missing in the header.
# Bytes of a footer, read so that the checksum behind them is checked; a bomb would never end.
_MOST_FOOTER = 1 << 20
# How far a label may be from a whole number: half a step of ids up to 15 stored in 8 bits.
_ROUNDING = 0.03


def is_image(path: Path) -> bool:
    """Whether a name ends like an image that :func:`read_image` reads and is not hidden."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def stem(path: Path) -> str:
    """Return a file's name without the image suffix (``case.nii.gz``, ``case.zip`` → ``case``)."""
    name = path.name
    if name.lower().endswith(ARCHIVE):
        name = name[: -len(ARCHIVE)]
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name if name != path.name else path.stem


def read_grid(path: Path) -> Grid:
    """Read the geometry only.

    Raises:
        InputError: The file is missing, unreadable or not 3D.
        GeometryError: Spacing or affine are unusable, the axes are skewed, or the header
            contradicts itself.
    """
    with unpacked_image(path) as file:
        return read_grid_of(file, open_image(file))[0]


def read_header(path: Path) -> tuple[Grid, tuple[str, ...]]:
    """Read all that :func:`read_image` takes from the header, and check it as strictly.

    Returns:
        The geometry, and what the header leaves open and had to be guessed, one line each.

    Raises:
        InputError: See :func:`read_grid`; or the voxels are not one number each.
        GeometryError: See :func:`read_grid`.
    """
    with unpacked_image(path) as file:
        image = open_image(file)
        grid, warnings = read_grid_of(file, image)
        _check_type(file, image)
        return grid, warnings + _scaling(file, image)


def read_header_spacing(path: Path) -> Spacing:
    """Read the voxel size from the header's own field, as scripts that ignore the affine do.

    Returns:
        Spacing along (z, y, x) in mm, rounded to single precision; the affine's spacing if the
        field holds no size.

    Raises:
        InputError: See :func:`read_grid`.
        GeometryError: See :func:`read_grid`.
    """
    with unpacked_image(path) as file:
        image = open_image(file)
        grid, _ = read_grid_of(file, image)
    if isinstance(image, StoredImage):
        return grid.spacing_mm
    z, y, x = (float(np.float32(mm)) for mm in image.header.get_zooms()[:3][::-1])
    return (z, y, x) if min(z, y, x) > 0 else grid.spacing_mm


def is_standard_nifti(path: Path) -> bool:
    """Whether every NIfTI reader reads the same from this file as :func:`read_image` does.

    That is so for a single NIfTI file of three dimensions that is compressed if and only if its
    name says so, and whose header states one geometry, in mm, and a usable scale.

    Raises:
        InputError: See :func:`read_grid`.
        GeometryError: See :func:`read_grid`.
    """
    if content_of(path) != "nifti":
        return False
    image = open_image(path)
    grid, _ = read_grid_of(path, image)
    ending = ".nii.gz" if is_compressed(path) else ".nii"
    return (
        path.name.lower().endswith(ending)
        and len(image.shape) == 3
        and bool(np.allclose(image.affine, grid.affine))
        and bool(np.allclose(image.header.get_zooms()[::-1], grid.spacing_mm, rtol=1e-3))
        and not _scaling(path, image)
    )


def read_image(path: Path) -> Volume:
    """Read an image in its stored units (HU for CT).

    Returns:
        The image as int16 if the file holds such integers, otherwise as float32. Its ``warnings``
        say what the header leaves open and had to be guessed.

    Raises:
        InputError: The file is missing, truncated, longer than its header says, not an image, not
            3D, or holds values that are not finite.
        GeometryError: See :func:`read_grid`.
    """
    grid, warnings, array = _read(path)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise InputError(
            f"{path}: {bad} of {array.size} voxels are NaN or infinite; expected HU everywhere, "
            "correct the file or leave it out"
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

    A scaled header may turn a 3 into 2.99991, so a value within 0.03 of a whole number counts as
    that number. Ids up to 15 stored in 8 bits are off by as much.

    Raises:
        InputError: See :func:`read_image`; or a value is not a whole number from 0 to 255.
        GeometryError: See :func:`read_grid`.
    """
    grid, warnings, array = _read(path, scaling=False)
    return Volume(np.ascontiguousarray(_whole(path, array).T), grid, warnings)


def _read(path: Path, *, scaling: bool = True) -> tuple[Grid, tuple[str, ...], npt.NDArray[Any]]:
    """The grid, the warnings, and the values along (x, y, z)."""
    with unpacked_image(path) as file:
        image = open_image(file)
        grid, warnings = read_grid_of(file, image)
        if scaling:
            warnings += _scaling(file, image)
        array = _values(file, image)
        # A mapped file of a temporary folder could not be removed everywhere.
        return grid, warnings, array if file == path else np.array(array, order="K")


def write_labels(path: Path, labels: Volume, *, like: Path | None = None) -> None:
    """Write a label map as uint8 NIfTI, whole or not at all.

    Args:
        path: The file to write; ends in ``.nii`` or ``.nii.gz``.
        labels: The label map.
        like: The image that was segmented, whose header (forms, codes, units, description) is
            copied.

    Raises:
        InputError: ``path`` does not end like a NIfTI file.
        GeometryError: ``labels`` is not on the grid of ``like``.
        OutputError: ``path`` cannot be written.
    """
    _write(path, labels, np.uint8, like=like)


def write_image(path: Path, image: Volume, *, description: str = "") -> None:
    """Write an image as NIfTI in the array's own type (int16 for HU), whole or not at all.

    Args:
        path: The file to write; ends in ``.nii`` or ``.nii.gz``.
        image: The image.
        description: The description in its header, at most 79 ASCII characters.

    Raises:
        InputError: ``path`` does not end like a NIfTI file.
        OutputError: ``path`` cannot be written.
    """
    _write(path, image, image.array.dtype, like=None, description=description)


def _write(
    path: Path, volume: Volume, dtype: Any, *, like: Path | None, description: str = ""
) -> None:
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: an output name ends in .nii or .nii.gz")
    if like is not None and content_of(like) == "zip":
        like = None  # the labels have its grid
    template = open_image(like) if like is not None else None
    header = None
    if template is not None:
        if like is not None:
            grid, _ = read_grid_of(like, template)
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
    if description:
        image.header["descrip"] = description.encode("ascii", "replace")[:79]
    with replacing(path) as temporary:
        nib.save(image, temporary)


def _scaling(path: Path, image: Any) -> tuple[str, ...]:
    """A warning if the scale of the values is not finite, so that nibabel ignores it."""
    if not isinstance(image, nib.Nifti1Pair):
        return ()
    slope = float(stored_field(image, raw_header(path), "scl_slope"))
    return (
        ()
        if math.isfinite(slope)
        else (f"its header states the scale of the values as {slope}; the stored values are used",)
    )


def _check_type(path: Path, image: Any) -> np.dtype[Any]:
    kind: np.dtype[Any] = image.get_data_dtype()
    if kind.kind not in "iubf":
        raise InputError(f"{path}: voxels are of type {kind}; expected one number per voxel")
    return kind


def _values(path: Path, image: Any) -> npt.NDArray[Any]:
    kind = _check_type(path, image)
    try:
        if isinstance(image, nib.Nifti1Image | nib.MGHImage):
            with open_stream(path) as stream:
                proxy = image.dataobj  # of a stream that is closed; the header is not read again
                layout = (proxy.shape, proxy.dtype, proxy.offset, proxy.slope, proxy.inter)
                array = _stored(type(proxy)(stream, layout))
                # The voxels of a mapped file have not been read.
                stream.seek(proxy.offset + math.prod(image.shape) * kind.itemsize)
                _check_rest(stream, footer=isinstance(image, nib.MGHImage))
        elif isinstance(image, StoredImage):
            array = image.values()
        else:
            array = _stored(image.dataobj)
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise InputError(
            f"{path}: the voxels cannot be read ({quoted(error)}); "
            "the file is truncated or damaged, copy it again"
        ) from error
    values: npt.NDArray[Any] = array
    while values.ndim > 3:
        values = values[..., 0]
    return values


def _check_rest(stream: IO[bytes], *, footer: bool) -> None:
    """Check that nothing follows the voxels.

    If the header states fewer voxels per row than the file has, every row is shifted against the
    one before. Reading on also checks the checksum of a compressed file, before which nibabel
    stops.

    Raises:
        ValueError: More follows.
    """
    most = _MOST_FOOTER if footer else _MOST_PADDING
    rest = stream.read(most)
    if len(rest) == most or (not footer and rest.strip(b"\0")):
        raise ValueError("more follows than its header states")


def _whole(path: Path, array: npt.NDArray[Any]) -> LabelArray:
    """Label ids as uint8, plane by plane, because rounding a whole scan would copy it."""
    if array.dtype == np.uint8:
        return array
    labels = np.empty(array.shape, np.uint8, order="F")
    for k in range(array.shape[2]):
        plane = array[..., k]
        with np.errstate(invalid="ignore", over="ignore"):  # named below
            rounded = np.rint(plane) if plane.dtype.kind == "f" else plane
            labels[..., k] = rounded.astype(np.uint8)
            # Negated so that NaN is wrong too.
            wrong = ~(np.abs(plane - labels[..., k].astype(np.float64)) <= _ROUNDING)
        if wrong.any():
            value = plane[wrong].flat[0]
            raise InputError(
                f"{path}: holds the value {value}; a label map has whole numbers from 0 to 255 only"
            )
    return labels


def _stored(proxy: Any) -> npt.NDArray[Any]:
    """Read the voxels of nibabel's proxy, scaled if the header states a scale."""
    scaled = getattr(proxy, "slope", 1.0) not in (1.0, None) or getattr(
        proxy, "inter", 0.0
    ) not in (0.0, None)
    array: npt.NDArray[Any] = np.asanyarray(proxy, dtype=np.float32 if scaled else None)
    return array
