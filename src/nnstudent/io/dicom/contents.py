"""Looks through a folder for DICOM images; whatever else lies there is noted by name."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnstudent.errors import InputError
from nnstudent.io.dicom.headers import TAGS, Header
from nnstudent.io.dicom.read import DamagedError, kind_of, read_header, series_of
from nnstudent.io.dicom.values import Values
from nnstudent.readable import readable

_SPECIAL, _HIDDEN = "not a regular file", "a hidden folder"
_DICOMDIR = "1.2.840.10008.1.3.10"
_NAMED = 6  # files named in a message


@dataclass(eq=False)
class Contents:
    """The contents of a folder and the folders below it.

    Attributes:
        headers: The header of each DICOM image.
        faults: Files that are damaged or cannot be read.
        passed_over: Names of everything else, relative to the folder.
    """

    headers: list[Header] = field(default_factory=list)
    faults: list[DamagedError] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def holds_dicom(folder: Path, *, deep: bool = False) -> bool:
    """Whether a folder holds DICOM files by their content, or damaged files with such a name.

    Args:
        folder: The folder.
        deep: Whether to look into the folders below it too.
    """
    return any(may_be_dicom(path) for path, problem in _files(folder, deep=deep) if not problem)


def read_contents(folder: Path) -> Contents:
    """Read the header of every DICOM file in a folder and the folders below it, or of one file.

    Raises:
        InputError: The folder holds neither a DICOM image nor a damaged file.
        MissingExtraError: pydicom is not installed.
    """
    contents = Contents()
    files = ((folder, ""),) if folder.is_file() else _files(folder)
    for path, problem in files:
        name = path.name if path == folder else str(path.relative_to(folder))
        if problem != _HIDDEN and path.name.startswith("."):
            contents.passed_over.append(f"{name} (a hidden file)")
        elif problem in (_SPECIAL, _HIDDEN):
            contents.passed_over.append(f"{name} ({problem})")
        elif problem:
            contents.faults.append(DamagedError(path, problem))
        else:
            try:
                header = _header(path)
            except OSError as error:
                contents.faults.append(DamagedError(path, f"cannot be read ({error.strerror})"))
            except DamagedError as error:
                contents.faults.append(error)
            else:
                if header is None:
                    contents.passed_over.append(name)
                else:
                    contents.headers.append(header)
    if not contents.headers and not contents.faults:
        raise InputError(f"{folder}: no DICOM image in it; expected the folder of a CT series")
    return contents


def refusal(faults: Sequence[DamagedError]) -> InputError:
    """Return the error of the first damaged file, with the names of the others."""
    text = str(faults[0])
    if len(faults) > 1:
        names = shorten([fault.path.name for fault in faults[1:]])
        text += f" ({len(faults) - 1} more damaged: {names})"
    return InputError(text)


def shorten(names: Sequence[str]) -> str:
    """Return the first of these names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(" ".join(readable(name).split()) for name in names[:_NAMED]) + more


def _files(folder: Path, *, deep: bool = True) -> Iterator[tuple[Path, str]]:
    """Yield each file, in the order of names, with an empty text or what keeps it from being read.

    Links are followed; pipes are never opened.
    """
    waiting, seen = [folder], set()
    while waiting:
        here = waiting.pop()
        try:
            state = here.stat()
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            yield here, f"this folder cannot be read ({error.strerror})"
            continue
        if (state.st_dev, state.st_ino) in seen:  # a link to a folder above
            continue
        seen.add((state.st_dev, state.st_ino))
        below = []
        for entry in entries:
            path = here / entry.name
            try:
                mode = path.stat().st_mode
            except OSError as error:
                link = ", a link" if entry.is_symlink() else ""
                yield path, f"cannot be read ({error.strerror}{link})"
                continue
            if stat.S_ISDIR(mode) and path.name.startswith("."):
                yield path, _HIDDEN
            elif stat.S_ISDIR(mode):
                below.append(path)
            else:
                yield path, "" if stat.S_ISREG(mode) else _SPECIAL
        waiting += reversed(below if deep else [])


def may_be_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its content, or has such a name and may be damaged."""
    if path.name.startswith("."):
        return False
    try:
        return kind_of(path) == "dicom" or path.suffix.lower() in (".dcm", ".ima")
    except OSError:
        return True


def _header(path: Path) -> Header | None:
    """The header of a regular file; None if it is not a DICOM image.

    Raises:
        OSError: The file cannot be read.
        DamagedError: The file is damaged.
    """
    kind = kind_of(path)
    if kind == "other":
        return None
    if kind == "blank":
        state = "it begins with zeros only" if path.stat().st_size else "empty"
        raise DamagedError(path, f"damaged ({state})")
    dataset, pixels = read_header(path, TAGS)
    if Values(dataset.file_meta, str(path)).trait("MediaStorageSOPClassUID") == _DICOMDIR:
        return None
    try:
        header = Header.of(dataset, path)
        if header.modality == "unknown":
            raise DamagedError(path, "damaged DICOM (Modality is missing)")
        if header.sort == "ct" and not pixels:
            raise DamagedError(path, "damaged DICOM (it has no pixels)")
    except InputError as error:
        raise DamagedError.of(error, path, series_of(dataset)) from error
    return header
