"""Names that users gave to files: text to display, never paths on disk."""

from __future__ import annotations

import re
import unicodedata

from nnstudent.io.nifti import SUFFIXES

IMAGES = (".nii.gz", ".nii", ".mgz", ".mgh")  # formats with the whole image in one file
ARCHIVE = ".zip"
_LONGEST = 80


def display_name(name: str) -> str:
    """Return a short name without folders, image suffix, and control and direction characters.

    It is ``scan`` if nothing is left.
    """
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    lower = last.lower()
    ending = next((end for end in (*SUFFIXES, ".dcm", ARCHIVE) if lower.endswith(end)), "")
    text = unicodedata.normalize("NFC", last[: len(last) - len(ending)])
    text = "".join(
        " " if character.isspace() else character
        for character in text
        if character.isspace() or _is_printable(character)
    )
    text = " ".join(text.split()).lstrip("=+-@.")  # = + - @ start a formula in spreadsheets
    return text[:_LONGEST].strip() or "scan"


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


def top_folder(name: str) -> str:
    """Return the first folder of a relative name, or an empty text."""
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]
    return parts[0] if len(parts) > 1 else ""
