"""Finds the studies in a folder tree as hospitals export it: patients, studies, series."""

from __future__ import annotations

import os
from pathlib import Path

from nnstudent.io.dicom.contents import may_be_dicom
from nnstudent.io.dicom.read import quiet, read_header


def study_folders(root: Path) -> tuple[Path, ...]:
    """Return the folder of each study at and below a folder, in the order of their names.

    A study's folder is the highest below ``root`` that holds no other study, so that a patient with
    one study is one folder. Studies are told apart by what the first DICOM file in each folder
    states, whatever the folders are called; studies whose files share a folder count as one. Of
    each folder one header is read.

    Args:
        root: The folder.
    """
    studies: dict[str, list[Path]] = {}
    for name, folders, files in os.walk(root):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        here = Path(name)
        study = next((found for file in sorted(files) if (found := _study(here / file))), None)
        if study is not None:
            studies.setdefault(study, []).append(here)
    places = {Path(os.path.commonpath(held)) for held in studies.values()}
    apart = {place for place in places if not any(other in place.parents for other in places)}
    return tuple(sorted(_highest(place, root, apart - {place}) for place in apart))


def _highest(place: Path, root: Path, others: set[Path]) -> Path:
    """The highest folder from ``place`` up that is below ``root`` and holds none of the others."""
    while place not in (root, root.parent) and place.parent != root:
        if any(place.parent in other.parents for other in others):
            break
        place = place.parent
    return place


def _study(path: Path) -> str | None:
    """What tells a file's study from others; None if it does not say."""
    if not path.is_file() or not may_be_dicom(path):
        return None
    try:
        with quiet():
            dataset, _ = read_header(path, ("PatientID", "StudyInstanceUID"))
            study = str(dataset.get("StudyInstanceUID") or "")
            return f"{dataset.get('PatientID') or ''}\n{study}" if study else None
    except Exception:  # pydicom is missing, or a malformed value makes it raise anything
        return None
