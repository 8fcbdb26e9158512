"""Label maps as DICOM segmentation objects, one segment a class, on the slices of the series that was segmented."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError, require
from nnstudent.io.atomic import replacing
from nnstudent.io.dicom.derived import (
    SERIES_NUMBER,
    TAKEN_OVER,
    Algorithm,
    Origin,
    found_on_slices,
    read_origin,
)
from nnstudent.io.dicom.find import quiet
from nnstudent.io.dicom.series import Series
from nnstudent.io.dicom.stack import Slice
from nnstudent.io.dicom.text import UTF_8
from nnstudent.io.terms import category, meaning, type_code
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.volume import Volume

_CT, _ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"


def check_seg(series: Series, origin: Origin) -> None:
    """See that a DICOM-SEG can refer to a series.

    Raises:
        InputError: It cannot.
    """
    if len(origin.files) > 1 and any(file.frames for file in origin.files.values()):
        where = series.stack.slices[0].path.parent
        raise InputError(
            f"{where}: {len(origin.files)} files, some of several frames; a DICOM-SEG refers to one of these, write rtstruct"
        )


def write_seg(
    path: Path,
    labels: Volume,
    series: Series,
    taxonomy: Taxonomy,
    *,
    algorithm: Algorithm,
    origin: Origin | None = None,
) -> None:
    """Write a binary DICOM-SEG in the study of a series, with a segment for each class that was found.

    Its frames lie on the series' own slices and name them, also where the volume was straightened or filled in.

    Args:
        path: Where to.
        labels: On the grid of ``series.volume``.
        series: What was segmented.
        taxonomy: The label table: names, codes, colors.
        algorithm: What made the labels.
        origin: What the object takes over of the series; None to read it.

    Raises:
        InputError: Nothing was found, or the series lacks a UID.
        MissingExtraError: highdicom is not installed.
        OutputError: ``path`` cannot be written.
    """
    hd: Any = require("highdicom", extra="dicom", why="writing DICOM-SEG")
    origin = origin or read_origin(series)
    check_seg(series, origin)
    planes, found = found_on_slices(path, labels, series, taxonomy)
    numbers = np.zeros(256, np.uint8)
    numbers[[item.id for item in found]] = np.arange(1, len(found) + 1)
    with quiet():
        headers = _headers(series, origin)
        try:
            seg = hd.seg.Segmentation(
                source_images=headers,
                pixel_array=_frames(numbers[planes], headers, series),
                segmentation_type="BINARY",
                segment_descriptions=[
                    _segment(number, item, algorithm, hd)
                    for number, item in enumerate(found, start=1)
                ],
                series_instance_uid=hd.UID(),
                series_number=SERIES_NUMBER + origin.number,
                series_description="nnStudent segmentation",
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="nnStudent",
                manufacturer_model_name=algorithm.name,
                software_versions=algorithm.version,
                device_serial_number=algorithm.model,
                content_label="SEGMENTATION",
                content_description="Made by a machine, not reviewed",
                specific_character_set=UTF_8,  # replaced below by the source's
            )
        except (
            ValueError,
            TypeError,
            AttributeError,
            KeyError,
            IndexError,
        ) as error:  # what it says may quote the patient
            raise InputError(
                f"{path}: highdicom makes none of this series ({type(error).__name__}); write nifti or seg.nrrd"
            ) from error
        origin.describe(seg, more=[algorithm.name, *(meaning(item) for item in found)])
        _name_classes(seg, origin)
        with replacing(path) as temporary:
            seg.save_as(temporary)


def _headers(series: Series, origin: Origin) -> list[Any]:
    """The source's headers as highdicom needs them, made of values that were checked.

    The source's own have whatever the scanner or those after it wrote, and highdicom takes over,
    or stumbles over, much of it.
    """
    by_file: dict[Path, Slice] = {}
    for item in series.stack.slices:
        by_file.setdefault(item.path, item)
    return [_header(item, series, origin) for item in by_file.values()]


def _header(item: Slice, series: Series, origin: Origin) -> Any:
    pydicom: Any = require("pydicom", extra="dicom", why="writing DICOM-SEG")
    file = origin.files[item.path]
    header = pydicom.Dataset()
    for keyword in TAKEN_OVER:
        setattr(header, keyword, "")  # the object gets them when it is made
    header.StudyInstanceUID = origin.study
    header.SOPClassUID, header.SOPInstanceUID = _ENHANCED_CT if file.frames else _CT, file.uid
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
    # one orientation for all: the stack allows for rounding, highdicom does not
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
    """Numbers as decimal strings, which have 16 characters at most."""
    pydicom: Any = require("pydicom", extra="dicom", why="writing DICOM-SEG")
    return [pydicom.valuerep.DSfloat(float(value), auto_format=True) for value in values]


def _name_classes(seg: Any, origin: Origin) -> None:
    """Refer to the source's files by their own SOP classes, of which highdicom does not know all."""
    classes = {file.uid: file.sop_class for file in origin.files.values()}

    def name(dataset: Any, element: Any) -> None:
        if element.keyword == "ReferencedSOPClassUID":
            element.value = classes.get(dataset.get("ReferencedSOPInstanceUID"), element.value)

    if set(classes.values()) - {_CT, _ENHANCED_CT}:
        seg.walk(name)


def _frames(
    planes: npt.NDArray[np.uint8], headers: list[Any], series: Series
) -> npt.NDArray[np.uint8]:
    """Planes in the order of the source's frames."""
    if "NumberOfFrames" not in headers[0]:
        return planes
    frames = np.zeros((int(headers[0].NumberOfFrames), *planes.shape[1:]), np.uint8)
    frames[[item.frame for item in series.stack.slices]] = planes
    return frames


def _segment(number: int, item: LabelClass, algorithm: Algorithm, hd: Any) -> Any:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=meaning(item)[:64],
        segmented_property_category=hd.sr.CodedConcept(*category(item)),
        segmented_property_type=hd.sr.CodedConcept(*type_code(item)),
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=algorithm.name,
            family=hd.sr.CodedConcept("123109", "DCM", "Artificial Intelligence"),
            version=algorithm.version,
            source="nnStudent",
            parameters={"model": algorithm.model},
        ),
        display_color=hd.color.CIELabColor.from_rgb(*item.color),
    )
