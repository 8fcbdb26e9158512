"""Scans in ZIP archives: unpacked to a temporary folder for as long as they are read."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from nnstudent.errors import InputError, NnStudentError, OutputError
from nnstudent.io.archive import checked_entries, unpack
from nnstudent.io.content import PACKED_HEAD, content_of, content_of_head, unpacked_head

Held = Literal["image", "series"]

_MOST_FILES = 20_000
_MOST_BYTES = 20_000_000_000
_PEEKED = 64  # files of an archive whose first bytes are looked at
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # safe on every file system
_IMAGES = ("nifti", "pair", "analyze", "mgh", "minc", "nrrd", "metaimage")


def is_archive(path: Path) -> bool:
    """Whether a path is a ZIP archive, by its content."""
    try:
        return path.is_file() and content_of(path) == "zip"
    except OSError:
        return False


def held(path: Path) -> Held | None:
    """Return what an archive holds, by its files' first bytes, without unpacking it.

    Args:
        path: A ZIP archive.

    Returns:
        ``image`` for an image file, ``series`` for DICOM files, None for neither, or if the archive
        cannot be read.
    """
    try:
        entries = checked_entries(path, most_files=_MOST_FILES, most_bytes=_MOST_BYTES)
        with zipfile.ZipFile(path) as archive:
            for item in entries[:_PEEKED]:
                with archive.open(item) as file:
                    head = unpacked_head(file.read(PACKED_HEAD))
                content = content_of_head(head, suffix=Path(item.filename).suffix)
                if content == "dicom" or content in _IMAGES:
                    return "series" if content == "dicom" else "image"
    except Exception:  # damaged archives raise many; unpacking it names what is wrong
        return None
    return None


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield the image file, or the folder of the DICOM series, that an archive holds.

    Any other path is yielded as it is. What was unpacked is removed at the end.

    Raises:
        InputError: The archive is damaged or unsafe, or holds no scan or several.
        OutputError: There is no room for what it holds.
    """
    if not is_archive(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="nnstudent-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            entries = checked_entries(path, most_files=_MOST_FILES, most_bytes=_MOST_BYTES)
            files = unpack(path, entries, folder, disk_name=_disk_names(folder))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be unpacked into {folder.parent} ({error.strerror}); "
                "make room there, or name another folder in TMPDIR"
            ) from error
        found = _scan(path, folder, files)
        try:
            yield found
        except NnStudentError as error:  # the user knows the archive, not the temporary folder
            error.args = (str(error).replace(str(folder), str(path)),)
            raise


@contextmanager
def unpacked_image(path: Path) -> Iterator[Path]:
    """As :func:`unpacked`, for callers that expect one image file.

    Raises:
        InputError: See :func:`unpacked`; or it holds a DICOM series.
    """
    with unpacked(path) as found:
        if found != path and found.is_dir():
            raise InputError(f"{path}: holds a DICOM series; expected one image file")
        yield found


def _disk_names(folder: Path) -> Callable[[int, str], str]:
    """Names on disk: a folder for each folder of the archive, safe names kept within it.

    They are kept because a header may name the file of its voxels.
    """
    folders: dict[str, int] = {}

    def name(number: int, inside: str) -> str:
        parent, _, last = inside.replace("\\", "/").rpartition("/")
        place = f"{folders.setdefault(parent, len(folders)):05d}"
        safe = last if _NAME.fullmatch(last) else ""
        if not safe or (folder / place / safe).exists():
            suffix = "".join(Path(last).suffixes[-2:])
            safe = f"{number:05d}{suffix if re.fullmatch(r'[.A-Za-z0-9]{0,12}', suffix) else ''}"
        return f"{place}/{safe}"

    return name


def _scan(path: Path, folder: Path, files: list[tuple[str, Path]]) -> Path:
    contents = [(content_of(file), name, file) for name, file in files]
    images = [(name, file) for content, name, file in contents if content in _IMAGES]
    series = any(content == "dicom" for content, _, _ in contents)
    if len(images) == 1 and not series:
        return images[0][1]
    if series and not images:
        return folder
    if not images:
        raise InputError(
            f"{path}: an archive without an image; expected one image file or a DICOM series"
        )
    named = ", ".join(name for name, _ in images[:3]) + (" …" if len(images) > 3 else "")
    raise InputError(
        f"{path}: an archive with {'a DICOM series and ' if series else ''}{named}; "
        "expected one scan, unpack it and give the folder"
    )
