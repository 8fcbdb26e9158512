"""Headers of a series as highdicom needs them to refer to its files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nnstudent.errors import require
from nnstudent.io.dicom.origin import COPIED, CT_IMAGE, ENHANCED_CT_IMAGE, Origin
from nnstudent.io.dicom.series import Series
from nnstudent.io.dicom.slices import Slice


def source_headers(series: Series, origin: Origin) -> list[Any]:
    """Make headers that highdicom can work with, of checked values only; one for each file.

    The real headers hold whatever the scanner and later programs wrote; highdicom copies much of
    it, or stumbles over it.

    Args:
        series: The series.
        origin: What objects copy from it.

    Returns:
        pydicom data sets without pixels, patient or study texts.

    Raises:
        MissingExtraError: pydicom is not installed.
    """
    by_file: dict[Path, Slice] = {}
    for item in series.stack.slices:
        by_file.setdefault(item.path, item)
    return [_header(item, series, origin) for item in by_file.values()]


def _header(item: Slice, series: Series, origin: Origin) -> Any:
    pydicom: Any = require("pydicom", extra="dicom", why="writing DICOM")
    file = origin.files[item.path]
    header = pydicom.Dataset()
    for keyword in COPIED:
        setattr(header, keyword, "")  # the object gets them once it is made
    header.StudyInstanceUID = origin.study
    header.SOPClassUID, header.SOPInstanceUID = (
        ENHANCED_CT_IMAGE if file.frames else CT_IMAGE,
        file.uid,
    )
    header.SeriesInstanceUID, header.FrameOfReferenceUID = origin.series, origin.frame_of_reference
    header.PositionReferenceIndicator, header.Modality = "", "CT"
    header.Rows, header.Columns = item.size
    if origin.lossy:
        header.LossyImageCompression = "01"
    measures, orientation = pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing = _decimals(item.spacing)
    measures.SliceThickness = _decimals([origin.thickness_mm])[0]
    if series.stack.even:
        measures.SpacingBetweenSlices = _decimals(series.volume.spacing_mm[:1])[0]
    # The same for all slices: a stack tolerates rounding, highdicom does not.
    orientation.ImageOrientationPatient = _decimals(series.stack.slices[0].orientation)
    if not file.frames:
        header.update(measures)
        header.update(orientation)
        header.ImagePositionPatient = _decimals(item.position)
        return header
    shared = pydicom.Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    header.NumberOfFrames, header.SharedFunctionalGroupsSequence = len(file.frames), [shared]
    groups = []
    for place in file.frames:
        position, group = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = _decimals(place)
        group.PlanePositionSequence = [position]
        groups.append(group)
    header.PerFrameFunctionalGroupsSequence = groups
    return header


def _decimals(values: Iterable[float]) -> list[Any]:
    """Numbers as decimal strings, which hold 16 characters at most."""
    pydicom: Any = require("pydicom", extra="dicom", why="writing DICOM")
    return [pydicom.valuerep.DSfloat(float(value), auto_format=True) for value in values]


def name_sop_classes(dataset: Any, origin: Origin) -> None:
    """Refer to the source's files by their own SOP classes, not all of which highdicom knows.

    Args:
        dataset: The pydicom data set of an object; changed in place.
        origin: What objects copy from the series.
    """
    classes = {file.uid: file.sop_class for file in origin.files.values()}

    def name(holder: Any, element: Any) -> None:
        if element.keyword == "ReferencedSOPClassUID":
            element.value = classes.get(holder.get("ReferencedSOPInstanceUID"), element.value)

    if set(classes.values()) - {CT_IMAGE, ENHANCED_CT_IMAGE}:
        dataset.walk(name)
