"""Names that users gave to files: text to display, never paths on disk."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence

from nnstudent.io.nifti import SUFFIXES

# Formats with the whole image in one file.
IMAGES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mgz", ".mgh")
ARCHIVE = ".zip"
_LONGEST = 80
# Names, and UIDs, that tell no scan from another: the folder above, or the series, says more.
_GENERIC = re.compile(
    r"(ct|cts|image|images|img|imgs|scan|scans|series|ser|se|dicom|dicomdir|dcm|nifti|nii|volume|vol"
    r"|data|input|study|st|files?|im|slices?|export|untitled)[ _.-]*[0-9]{0,5}|[0-9.]*",
    re.IGNORECASE,
)


def display_name(name: str) -> str:
    """Return a short name without folders, image suffix, and control and direction characters.

    It is ``scan`` if nothing is left.
    """
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    lower = last.lower()
    ending = next((end for end in (*SUFFIXES, *IMAGES, ".dcm", ARCHIVE) if lower.endswith(end)), "")
    text = unicodedata.normalize("NFC", last[: len(last) - len(ending)])
    text = "".join(
        " " if character.isspace() else character
        for character in text
        if character.isspace() or _is_printable(character)
    )
    text = " ".join(text.split()).lstrip("=+-@.")  # = + - @ start a formula in spreadsheets
    return text[:_LONGEST].strip() or "scan"


def image_name(path: str) -> str:
    """Return what an image file is called, given its relative path.

    A name such as ``ct.nii.gz`` says nothing; then it is the folder that says something.
    """
    names = [display_name(part) for part in reversed(_parts(path))]
    return next((name for name in names if _tells(name)), next(iter(names), "scan"))


def series_name(folder: str, *, description: str = "") -> str:
    """Return what a DICOM series is called.

    Args:
        folder: Relative path of its folder, the patient's first; may be empty.
        description: The series description in its headers, used if no folder says anything.
    """
    names = [display_name(part) for part in _parts(folder)]
    telling = next((name for name in names if _tells(name)), "")
    return telling or display_name(description or next(iter(names), ""))


def _parts(path: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", path) if part not in ("", ".", "..")]


def _tells(name: str) -> bool:
    return _GENERIC.fullmatch(name) is None


def display_path(name: str) -> str:
    """Return a relative name, shortened and without control and direction characters."""
    text = "".join(
        character for character in unicodedata.normalize("NFC", name) if _is_printable(character)
    )
    return text if len(text) <= 2 * _LONGEST else f"…{text[-2 * _LONGEST :]}"


def _is_printable(character: str) -> bool:
    return unicodedata.category(character)[0] != "C"  # control, format, unassigned …


def disk_suffix(name: str) -> str:
    """Return the suffix for a file on disk: that of an image or an archive, otherwise ``.dcm``."""
    lower = name.lower()
    return next((end for end in (*IMAGES, ARCHIVE) if lower.endswith(end)), ".dcm")


def common_folder(names: Sequence[str]) -> str:
    """Return the folder that all relative names lie in, or an empty text."""
    parts = [re.split(r"[/\\]", name)[:-1] for name in names]
    return "/".join(
        level[0]
        for level in itertools.takewhile(
            lambda level: len(set(level)) == 1, zip(*parts, strict=False)
        )
    )
