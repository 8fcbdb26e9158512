"""A DICOM export: folders of patients and studies; each study is a case without a label map."""

from __future__ import annotations

import os
from pathlib import Path

from nnstudent.cohort.sources.source import Entry, Source, safe_id, without_twins
from nnstudent.io.dicom.tree import study_folders
from nnstudent.io.nifti import is_image
from nnstudent.taxonomy import Taxonomy, flare23


def recognizes(folder: Path) -> bool:
    """Whether a folder holds DICOM studies, and no file that is named like another image."""
    for _, _, files in os.walk(folder):
        if any(is_image(Path(name)) for name in files):
            return False
    return bool(study_folders(folder))


def read(folder: Path, *, taxonomy: Taxonomy | None = None) -> Source:
    """Read a DICOM export.

    Of the CT series in a study, a rule chooses one; a warning of the case names the others.
    """
    root = Path(os.path.abspath(folder))
    entries = []
    for place in study_folders(root):
        name = "_".join(place.relative_to(root).parts) or root.name
        entries.append(Entry(safe_id(name), place, choose=True))
    kept, twins = without_twins(entries)
    return Source("a DICOM export", taxonomy or flare23(), kept, twins)
