"""What a DICOM object that is made of a series takes over from it, and nothing else of the patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError, require
from nnstudent.io.dicom import Series
from nnstudent.io.dicom_files import quiet
from nnstudent.io.dicom_stack import Stack
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.volume import Volume

SERIES_NUMBER = 1000  # added to the source's, so that the result stands behind what the scanner made


@dataclass(frozen=True)
class Algorithm:
    """What made a segmentation, for those who find it in an archive.

    Attributes:
        name: Of the model.
        version: Of this package.
        model: The model's identity.
    """

    name: str
    version: str
    model: str


# What the standard wants of an object in the study of its source, even where it is empty (patient and general study module).
SHARED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID",
)  # fmt: skip
# Groups of the image, without those of the patient, the visit, the request and the trial; of group 8, which has people and places too,
# only what is named.
_GROUPS = (0x0018, 0x0020, 0x0028, 0x5200)
_NAMED = ("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", *SHARED)


def read_headers(stack: Stack) -> dict[Path, Any]:
    """The headers of a series' files, in the order of the slices; of the patient and the study no more than an object must take over.

    What an object must take over but the source has not, or malformed, is left empty.

    Raises:
        InputError: A UID is missing without which nothing can refer to the series.
    """
    pydicom = require("pydicom", extra="dicom", why="reading DICOM")
    with quiet():
        return {path: _header(path, pydicom) for path in dict.fromkeys(item.path for item in stack.slices)}


def found_on_slices(path: Path, labels: Volume, series: Series, taxonomy: Taxonomy) -> tuple[npt.NDArray[np.uint8], list[LabelClass]]:
    """The labels on the series' own slices, (slice, row, column), and the classes that are there.

    Args:
        path: What is to be written, for the error.
        labels: On the grid of ``series.volume``.
        series: What was segmented.
        taxonomy: The label table.

    Raises:
        InputError: Nothing was found.
    """
    planes = series.stack.on_slices(labels)
    counts = np.bincount(planes.ravel(), minlength=256)
    found = [item for item in taxonomy if counts[item.id]]
    if not found:
        raise InputError(f"{path}: nothing was found, and a DICOM object without a segment is not valid; write nifti instead")
    return planes, found


def _header(path: Path, pydicom: Any) -> Any:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        if not header.get(keyword):
            raise InputError(f"{path}: {keyword} is missing, so that nothing can refer to the series; write nifti or seg.nrrd instead")
    for keyword in SHARED:
        try:
            value = header.get(keyword)
            kind = {"Date": pydicom.valuerep.DA, "Time": pydicom.valuerep.TM}.get(keyword[-4:])
            if value and kind is not None:
                kind(value)
            if value is None or (keyword == "PatientSex" and value not in ("M", "F", "O")):
                raise ValueError
        except ValueError:
            setattr(header, keyword, "")
    for element in list(header.keys()):
        if element.group not in _GROUPS and pydicom.datadict.keyword_for_tag(element) not in _NAMED:
            del header[element]
    return header
