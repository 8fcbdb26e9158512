"""Writes label maps as DICOM segmentation objects on the slices of the series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.errors import InputError, require
from nnstudent.io.dicom.derived import SERIES_NUMBER, LabeledSeries, write_by_highdicom
from nnstudent.io.dicom.origin import Origin
from nnstudent.io.dicom.series import Series
from nnstudent.io.dicom.source_headers import source_headers
from nnstudent.io.dicom.text import UTF_8
from nnstudent.io.terms import category, meaning, type_code
from nnstudent.taxonomy import LabelClass
from nnstudent.types import LabelArray


def check_seg(series: Series, origin: Origin) -> None:
    """Check that a DICOM-SEG can refer to a series.

    Args:
        series: The series.
        origin: What the object would copy from it.

    Raises:
        InputError: The series is several files, of which some hold several frames.
    """
    if len(origin.files) > 1 and any(file.frames for file in origin.files.values()):
        where = series.stack.slices[0].path.parent
        raise InputError(
            f"{where}: {len(origin.files)} files, some of several frames; "
            "a DICOM-SEG can refer to one such file only, write rtstruct"
        )


def write_seg(path: Path, labeled: LabeledSeries) -> None:
    """Write a binary DICOM-SEG in the study of a series, with a segment for each class found.

    Its frames lie on the series' own slices and refer to them, even if the volume was straightened
    or filled in.

    Args:
        path: The file to write.
        labeled: The labels and their series.

    Raises:
        InputError: A DICOM-SEG cannot refer to the series; see :func:`check_seg`.
        MissingExtraError: highdicom is not installed.
        OutputError: ``path`` cannot be written.
    """
    hd: Any = require("highdicom", extra="dicom", why="writing DICOM-SEG")
    check_seg(labeled.series, labeled.origin)
    write_by_highdicom(
        path,
        labeled,
        lambda: _segmentation(labeled, hd),
        unable="refer to",
        instead="nifti or seg.nrrd",
    )


def _segmentation(labeled: LabeledSeries, hd: Any) -> Any:
    """The object, with the patient and study still empty."""
    headers = source_headers(labeled.series, labeled.origin)
    numbers = np.zeros(256, np.uint8)
    numbers[[item.id for item in labeled.classes]] = np.arange(1, len(labeled.classes) + 1)
    return hd.seg.Segmentation(
        source_images=headers,
        pixel_array=_frames(numbers[labeled.planes], headers, labeled.series),
        segmentation_type="BINARY",
        segment_descriptions=[
            _segment(number, item, labeled, hd)
            for number, item in enumerate(labeled.classes, start=1)
        ],
        series_instance_uid=labeled.identity.series,
        series_number=SERIES_NUMBER + labeled.origin.number,
        series_description="nnStudent segmentation",
        sop_instance_uid=labeled.identity.instance,
        instance_number=1,
        manufacturer="nnStudent",
        manufacturer_model_name=labeled.algorithm.name,
        software_versions=labeled.algorithm.version,
        device_serial_number=labeled.algorithm.model,
        content_label="SEGMENTATION",
        content_description=labeled.algorithm.reviewed,
        specific_character_set=UTF_8,  # replaced by the source's afterwards
    )


def _frames(planes: LabelArray, headers: list[Any], series: Series) -> LabelArray:
    """The planes in the order of the source's frames."""
    if "NumberOfFrames" not in headers[0]:
        return planes
    frames = np.zeros((int(headers[0].NumberOfFrames), *planes.shape[1:]), np.uint8)
    frames[[item.frame for item in series.stack.slices]] = planes
    return frames


def _segment(number: int, item: LabelClass, labeled: LabeledSeries, hd: Any) -> Any:
    algorithm = labeled.algorithm
    segment = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=meaning(item)[:64],
        segmented_property_category=hd.sr.CodedConcept(*category(item)),
        segmented_property_type=hd.sr.CodedConcept(*type_code(item)),
        algorithm_type=algorithm.generation,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=algorithm.name,
            family=hd.sr.CodedConcept("123109", "DCM", "Artificial Intelligence"),
            version=algorithm.version,
            source="nnStudent",
            parameters={"model": algorithm.model},
        ),
        display_color=hd.color.CIELabColor.from_rgb(*item.color),
    )
    if item.name in labeled.notes:
        segment.SegmentDescription = labeled.notes[item.name]
    return segment
