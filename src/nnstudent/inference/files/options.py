"""Options for segmenting files."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnstudent.io.parts import WHOLE, Part


@dataclass(frozen=True)
class Options:
    """Options for what is read and written.

    Attributes:
        organs: Only these classes; empty for all.
        split: One file per class instead of one label map.
        skip_existing: Skip cases whose output exists.
        preview: Also write a picture beside each output.
        statistics: Also write volume and density of each class as CSV: beside the output of one
            case, or as one ``statistics.csv`` of several.
        probabilities: Also write the probability of each class, see :func:`write_probabilities
            <nnstudent.inference.files.maps.write_probabilities>`.
        uncertainty: Also write how uncertain each voxel's class is.
        most_kept_bytes: Disk space that probabilities may take until they are written; networks
            that would take more are left out.
        mesh: Also write the surface of each class, as one of :data:`~nnstudent.choices.MESHES`.
        series: Number or UID of the DICOM series to take; None for the only one.
        ask: Whether an input with several series is refused, so that a person can name one;
            otherwise a rule chooses.
        formats: Some of :data:`~nnstudent.inference.files.formats.FORMATS`; the report names the
            file of the first. None of them for those of each case, see
            :func:`~nnstudent.inference.files.find.find_inputs`.
        new_uids: Derive from the content of a DICOM series the UIDs that it lacks and that DICOM
            outputs need.
        part: Only this part of the cases, so that several machines can share a folder.
        max_voxels: Refuse images with more voxels; None for no limit but memory.
    """

    organs: tuple[str, ...] = ()
    split: bool = False
    skip_existing: bool = False
    preview: bool = False
    statistics: bool = False
    probabilities: bool = False
    uncertainty: bool = False
    most_kept_bytes: float = math.inf
    mesh: str | None = None
    series: str | None = None
    ask: bool = True
    formats: tuple[str, ...] = ()
    new_uids: bool = False
    part: Part = WHOLE
    max_voxels: int | None = None
