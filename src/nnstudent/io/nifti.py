"""Read what nibabel reads into a :class:`Volume`, and write label maps on the input's own grid and header."""

from __future__ import annotations

import gzip
import logging
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from nnstudent.errors import GeometryError, InputError
from nnstudent.io.atomic import replacing
from nnstudent.volume import Grid, Volume

log = logging.getLogger(__name__)

SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh", ".hdr", ".img", ".mnc")
_SPACING_MM = (0.05, 20.0)
_REST = 1 << 20  # bytes after the voxels that are still taken for padding; unpacked, a bomb has no end
_ROUNDED = 0.03  # how far from a whole number a label may be: half a step of ids up to 15 in 8 bits
_SKEW = 0.1  # cosine between two axes; what is beyond, a tilted gantry, would be measured wrongly


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
        GeometryError: Spacing or affine are unusable, the axes are skewed, or sform and qform disagree.
    """
    return _grid(path, _open(path))


def read_image(path: Path) -> Volume:
    """Read an image in its stored units (HU for CT), int16 where the file holds such integers, else float32.

    Raises:
        InputError: The file is missing, truncated, not an image, not 3D, or holds values that are not finite.
        GeometryError: Spacing or affine are unusable, or sform and qform disagree.
    """
    image = _open(path)
    grid = _grid(path, image)
    array = _values(path, image)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise InputError(f"{path}: {bad} of {array.size} voxels are NaN or infinite; expected HU everywhere, mend or leave out the file")
    small = np.can_cast(array.dtype, np.int16)
    whole = array.dtype.kind in "iub" and (small or (array.min() >= -32768 and array.max() <= 32767))
    return Volume(np.ascontiguousarray(array.astype(np.int16 if whole else np.float32, copy=False).T), grid)


def read_labels(path: Path) -> Volume:
    """Read a label map as uint8.

    Whole numbers are meant where a scaled header has made 2.99991 of a 3: a value within 0.03 of a
    whole number is that number. Ids up to 15 stored in 8 bits are off by as much.

    Raises:
        InputError: As :func:`read_image`, or a value is not a whole number from 0 to 255.
        GeometryError: As :func:`read_image`.
    """
    image = _open(path)
    grid = _grid(path, image)
    array = _values(path, image)
    return Volume(np.ascontiguousarray(_whole(path, array).T), grid)


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
            _grid(like, template).require(volume.grid, what=f"{path}: the label map", of=str(like), advice="give labels of this image")
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
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected an image that ends in {', '.join(SUFFIXES[:4])}")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty; expected an image")
    try:
        return nib.load(path)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path}: cannot be opened as an image ({_line(error)}); expected NIfTI") from error


def _grid(path: Path, image: Any) -> Grid:
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:  # one moment, one channel
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 2:
        sizes = "×".join(map(str, image.shape))
        raise InputError(f"{path}: is {len(image.shape)}D ({sizes}); expected one 3D volume of at least 2 voxels along each axis")
    try:
        grid = Grid(shape[::-1], image.affine)
    except GeometryError as error:
        raise GeometryError(f"{path}: {error}") from error
    axes = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    skew = np.abs(axes.T @ axes - np.eye(3)).max()
    if skew > _SKEW:
        angle = np.degrees(np.arccos(min(1.0, skew)))
        raise GeometryError(f"{path}: its axes stand at {angle:.0f}° to each other; expected right angles, resample the image first")
    if not all(_SPACING_MM[0] <= mm <= _SPACING_MM[1] for mm in grid.spacing_mm):
        raise GeometryError(f"{path}: {grid}; expected a spacing of {_SPACING_MM[0]} to {_SPACING_MM[1]:.0f} mm, mend the header")
    if isinstance(image, nib.Nifti1Pair):
        sform, has_sform = image.get_sform(coded=True)
        qform, has_qform = _qform(path, image)
        if has_sform and has_qform and not Grid(grid.shape, sform).matches(Grid(grid.shape, qform), tolerance_mm=0.5):
            raise GeometryError(f"{path}: sform and qform place the image differently; mend the header so that they agree")
    return grid


def _qform(path: Path, image: Any) -> tuple[Any, int]:
    try:
        return image.get_qform(coded=True)  # type: ignore[no-any-return]  # nibabel is untyped
    except (ValueError, HeaderDataError) as error:
        raise GeometryError(f"{path}: the qform is broken ({_line(error)}); mend the header") from error


def _values(path: Path, image: Any) -> npt.NDArray[Any]:
    try:
        if isinstance(image, nib.Nifti1Image) and path.name.lower().endswith(".gz"):
            with gzip.open(path) as stream:
                array = _stored(type(image).from_stream(stream))
                if len(stream.read(_REST)) == _REST:  # to the end, where the checksum is: nibabel stops before it
                    raise ValueError("more follows than its header tells of")
        else:
            array = _stored(image)
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise InputError(f"{path}: the voxels cannot be read ({_line(error)}); the file is truncated or damaged, copy it again") from error
    if array.dtype.kind not in "iubf":
        raise InputError(f"{path}: voxels are of type {array.dtype}; expected one number a voxel")
    values: npt.NDArray[Any] = array
    while values.ndim > 3:
        values = values[..., 0]
    return values


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
            raise InputError(f"{path}: holds the value {value}; a label map has whole numbers from 0 to 255 only")
    return labels


def _stored(image: Any) -> npt.NDArray[Any]:
    proxy = image.dataobj
    scaled = getattr(proxy, "slope", 1.0) not in (1.0, None) or getattr(proxy, "inter", 0.0) not in (0.0, None)
    array: npt.NDArray[Any] = image.get_fdata(dtype=np.float32, caching="unchanged") if scaled else np.asanyarray(proxy)
    return array


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
