"""What a user called a file: only ever text to show, never a place on disk."""

from __future__ import annotations

import re
import unicodedata

from nnstudent.io.nifti import SUFFIXES

IMAGES = (".nii.gz", ".nii", ".mgz", ".mgh")  # what one file can hold alone
ARCHIVE = ".zip"
_LONGEST = 80


def display_name(name: str) -> str:
    """A name without folders, image ending, control and direction characters, and not too long; ``scan`` if nothing is left."""
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    lower = last.lower()
    ending = next((end for end in (*SUFFIXES, ".dcm", ARCHIVE) if lower.endswith(end)), "")
    text = unicodedata.normalize("NFC", last[: len(last) - len(ending)])
    text = "".join(
        " " if character.isspace() else character
        for character in text
        if character.isspace() or _shows(character)
    )
    text = " ".join(text.split()).lstrip(
        "=+-@."
    )  # a table's program would take the first for a formula
    return text[:_LONGEST].strip() or "scan"


def shown_path(name: str) -> str:
    """A relative name as it was given, without control and direction characters, and not too long; only ever text to show."""
    text = "".join(
        character for character in unicodedata.normalize("NFC", name) if _shows(character)
    )
    return text if len(text) <= 2 * _LONGEST else f"…{text[-2 * _LONGEST :]}"


def _shows(character: str) -> bool:
    return (
        unicodedata.category(character)[0] != "C"
    )  # control, direction, and what stands for nothing


def ending(name: str) -> str:
    """How the file is called on disk: ending of an image or an archive, else that of DICOM."""
    lower = name.lower()
    return next((end for end in (*IMAGES, ARCHIVE) if lower.endswith(end)), ".dcm")


def is_clutter(name: str) -> bool:
    """Whether a system left the file among the others: hidden, or a Mac's second half of a file."""
    parts = re.split(r"[/\\]", name)
    return (
        "__MACOSX" in parts
        or parts[-1].startswith(".")
        or parts[-1].lower() in ("", "thumbs.db", "desktop.ini")
    )


def top_folder(name: str) -> str:
    """The first folder of a relative name, or nothing."""
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]
    return parts[0] if len(parts) > 1 else ""
