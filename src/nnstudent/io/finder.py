"""Lists the images in a folder, recognized by content, and everything else by kind.

What is passed over can so be named.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from nnstudent.errors import InputError
from nnstudent.io import metaimage, nrrd_header
from nnstudent.io.content import content_of, head_of
from nnstudent.io.nifti import is_image, stem
from nnstudent.io.stored import MOST_HEADER
from nnstudent.io.unpacked import held
from nnstudent.readable import readable

HIDDEN = "hidden file"
LINKED = "second name of the same file"
LABELS = "label map or picture of 8 bits"
VOXELS = "voxel file without its .hdr file"
NO_IMAGE = "file that is not an image"
NO_FILE = "pipe, device or broken link"
FOLDER = "folder"
DICOM = "DICOM file"
TABLE = "dataset.json"  # names the classes of the label maps beside it
# What nnU-Net writes beside its predictions.
_OF_NNUNET = (TABLE, "plans.json", "predict_from_raw_data_args.json")

_IN_ONE_BYTE = (2, 256)  # NIfTI's codes of uint8 and int8
_LABEL_INTENT = 1002
_CHANNEL = re.compile(r"_(\d{4})$")
_NAMED = 3  # files named per kind; the others are counted


@dataclass(frozen=True)
class Listing:
    """The contents of a folder, in the order of names.

    Attributes:
        images: Image files, one of each pair of files.
        labels: Images of 8-bit values without a scale: label maps or pictures, never HU.
        dicom: DICOM files.
        folders: Folders.
        passed_over: Everything else, by kind.
    """

    images: tuple[Path, ...] = ()
    labels: tuple[Path, ...] = ()
    dicom: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    passed_over: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    @property
    def volumes(self) -> tuple[Path, ...]:
        """Images and label maps together, for callers that expect label maps of any type."""
        return _by_name((*self.images, *self.labels))


def list_folder(folder: Path) -> Listing:
    """List the contents of a folder, but not of the folders in it.

    A file that is named like an image but holds something else counts as an image: it is damaged,
    and reading it names it as a failure.

    Raises:
        OSError: The folder cannot be read.
    """
    found: dict[str, list[Path]] = {"images": [], "labels": [], "dicom": [], "folders": []}
    passed: dict[str, list[Path]] = {}
    seen: set[str] = set()
    here = os.path.realpath(folder)
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_symlink(), path.name)):
        kind = _kind(path)
        if kind in ("images", "labels", "dicom"):
            # Only a link has to be followed, which takes as many calls as the path has folders.
            linked = path.is_symlink()
            place = os.path.realpath(path) if linked else os.path.join(here, path.name)
            if place in seen:
                kind = LINKED
            seen.add(place)
        if kind is not None:
            (found[kind] if kind in found else passed.setdefault(kind, [])).append(path)
    return Listing(
        **{name: _by_name(paths) for name, paths in found.items()},
        passed_over={kind: _by_name(paths) for kind, paths in sorted(passed.items())},
    )


def _by_name(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Sort files of one folder; a path that was compared as a whole takes twice the memory."""
    return tuple(sorted(paths, key=lambda path: path.name))


def _kind(path: Path) -> str | None:
    """The kind of a path; None for a file that belongs to another."""
    if path.name.startswith("."):
        return HIDDEN
    if path.is_dir():
        return "folders"
    if not path.is_file():
        return NO_FILE
    try:
        content = content_of(path)
    except OSError:
        return "images" if is_image(path) else NO_IMAGE
    if content == "dicom":
        return "dicom"
    if content == "zip":
        return {"image": "images", "series": "images", None: NO_IMAGE}[held(path)]
    if content == "other" and path.suffix.lower() == ".img":
        return None if _header_of(path) else VOXELS
    if content == "other" and _is_named_by_header(path):
        return None
    if content == "other":
        if path.suffix.lower() in (".dcm", ".ima"):
            return "dicom"
        return "images" if is_image(path) else NO_IMAGE
    if content in ("nrrd", "metaimage"):
        stores_bytes = nrrd_header.stores_bytes if content == "nrrd" else metaimage.stores_bytes
        return "labels" if stores_bytes(head_of(path)) else "images"
    return "labels" if content in ("nifti", "pair") and _is_8_bit(path) else "images"


def _header_of(path: Path) -> bool:
    return any(path.with_suffix(suffix).is_file() for suffix in (".hdr", ".HDR"))


def _is_named_by_header(path: Path) -> bool:
    """Whether a file holds the voxels of an NRRD or MetaImage header beside it."""
    if path.suffix.lower() not in (".raw", ".zraw", ".gz"):
        return False
    name = path.name.removesuffix(".gz").removesuffix(path.suffix)
    for header in (path.with_name(f"{Path(name).stem}{end}") for end in (".mhd", ".nhdr")):
        if header.is_file() and f"{path.name}".encode() in header.read_bytes()[:MOST_HEADER]:
            return True
    return False


def _is_8_bit(path: Path) -> bool:
    """Whether the header of a NIfTI file states labels, or one byte per voxel without a scale."""
    head = head_of(path)
    kind = Nifti2Header if head[4:8] in (b"n+2\0", b"ni2\0") else Nifti1Header
    try:
        header = kind(head[: kind.template_dtype.itemsize], check=False)
    except (WrapStructError, HeaderDataError, ValueError):
        return False
    if int(header["intent_code"]) == _LABEL_INTENT:
        return True
    slope, offset = float(header["scl_slope"]), float(header["scl_inter"])
    scaled = bool(np.isfinite(slope)) and slope != 0 and (slope, offset) != (1.0, 0.0)
    return int(header["datatype"]) in _IN_ONE_BYTE and not scaled


def case_names(files: Iterable[Path]) -> dict[Path, str]:
    """Return the case name of each file: its own name without suffix.

    nnU-Net's suffix for the only channel, ``_0000``, is removed if all of the files have it.
    Otherwise it is part of the name.

    Args:
        files: All images of a folder.
    """
    stems = {path: stem(path) for path in files}
    all_have_it = bool(stems) and all(
        name.endswith("_0000") and name != "_0000" for name in stems.values()
    )
    return {
        path: name.removesuffix("_0000") if all_have_it else name for path, name in stems.items()
    }


def channels_of(files: Iterable[Path]) -> tuple[str, ...]:
    """Return the channels that nnU-Net would see in these names, such as ``("0000", "0001")``.

    Names have channels if each ends in four digits, there are several cases, and each case has the
    same channels, more than one, from 0000 on. A single case ``a_0000, a_0001`` may as well be two
    numbered scans.

    Args:
        files: All images of a folder.

    Returns:
        The channels; none if the names have no channels.
    """
    channels: dict[str, list[str]] = {}
    for path in files:
        match = _CHANNEL.search(stem(path))
        if match is None:
            return ()
        channels.setdefault(stem(path)[: match.start()], []).append(match.group(1))
    sets = {tuple(sorted(numbers)) for numbers in channels.values()}
    if len(channels) < 2 or len(sets) != 1:
        return ()
    (numbers,) = sets
    return (
        numbers
        if len(numbers) > 1 and numbers == tuple(f"{place:04d}" for place in range(len(numbers)))
        else ()
    )


def label_maps(folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Find the label maps of a folder.

    Files named after a label map, such as its preview or record, are part of it and not mentioned,
    and neither are the files that nnU-Net writes beside its predictions.

    Returns:
        The label maps by their names without suffix, in this order, and what was passed over, one
        line per kind.

    Raises:
        InputError: The folder cannot be read, or two label maps have one name.
    """
    try:
        listing = list_folder(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read ({error.strerror}); choose a folder that you may read"
        ) from error
    maps: dict[str, Path] = {}
    for path in listing.volumes:
        other = maps.setdefault(stem(path), path)
        if other is not path:
            raise InputError(
                f"{folder}: holds both {other.name} and {path.name}; "
                "expected one label map per case, remove one"
            )
    passed = dict(listing.passed_over)
    passed[NO_IMAGE] = tuple(
        path
        for path in passed.get(NO_IMAGE, ())
        if path.name not in _OF_NNUNET and not _belongs(path.name, maps)
    )
    passed[DICOM] = listing.dicom
    return dict(sorted(maps.items())), describe(passed, root=folder)


def _belongs(name: str, stems: Mapping[str, Path]) -> bool:
    return any(name[:end] in stems for end, letter in enumerate(name) if letter == ".")


def same_name(name: str) -> str:
    """Return a form of a name that is equal for names that some file systems do not distinguish.

    They ignore upper and lower case, or how accents are encoded.
    """
    return unicodedata.normalize("NFC", name).casefold()


def describe(passed_over: Mapping[str, Sequence[Path]], *, root: Path) -> tuple[str, ...]:
    """Describe what was passed over, one line per kind with its number and first names.

    Args:
        passed_over: Paths by kind.
        root: The folder that the names are relative to.
    """
    lines = []
    for kind, paths in passed_over.items():
        if paths:
            names = ", ".join(_shown(path, root) for path in paths[:_NAMED]) + (
                ", …" if len(paths) > _NAMED else ""
            )
            lines.append(f"passed over: {len(paths)} × {kind}: {names}")
    return tuple(lines)


def _shown(path: Path, root: Path) -> str:
    return readable(str(path.relative_to(root)) if path.is_relative_to(root) else str(path))
