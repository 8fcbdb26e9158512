"""Label maps as DICOM segmentation objects, one segment a class, on the slices of the series that was segmented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError, require
from nnstudent.io.atomic import replacing
from nnstudent.io.dicom import Series
from nnstudent.io.dicom_files import quiet
from nnstudent.io.dicom_source import SERIES_NUMBER, Algorithm, found_on_slices, read_headers
from nnstudent.io.terms import category, meaning, type_code
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.volume import Volume


def write_seg(path: Path, labels: Volume, series: Series, taxonomy: Taxonomy, *, algorithm: Algorithm) -> None:
    """Write a binary DICOM-SEG in the study of a series, with a segment for each class that was found.

    Its frames lie on the series' own slices and name them, also where the volume was straightened or filled in.

    Args:
        path: Where to.
        labels: On the grid of ``series.volume``.
        series: What was segmented; its files are read again.
        taxonomy: The label table: names, codes, colors.
        algorithm: What made the labels.

    Raises:
        InputError: Nothing was found, or the series lacks a UID or holds what makes the object invalid.
        MissingExtraError: highdicom is not installed.
        OutputError: ``path`` cannot be written.
    """
    hd: Any = require("highdicom", extra="dicom", why="writing DICOM-SEG")
    planes, found = found_on_slices(path, labels, series, taxonomy)
    numbers = np.zeros(256, np.uint8)
    numbers[[item.id for item in found]] = np.arange(1, len(found) + 1)
    with quiet():
        headers = list(read_headers(series.stack).values())
        try:
            seg = hd.seg.Segmentation(
                source_images=headers,
                pixel_array=_frames(numbers[planes], headers, series),
                segmentation_type="BINARY",
                segment_descriptions=[_segment(number, item, algorithm, hd) for number, item in enumerate(found, start=1)],
                series_instance_uid=hd.UID(),
                series_number=SERIES_NUMBER + int(headers[0].get("SeriesNumber") or 0),
                series_description="nnStudent segmentation",
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="nnStudent",
                manufacturer_model_name=algorithm.name,
                software_versions=algorithm.version,
                device_serial_number=algorithm.model,
                content_label="SEGMENTATION",
                content_description="Made by a machine, not reviewed",
            )
        except (ValueError, TypeError, AttributeError, KeyError) as error:  # what it says may quote the patient
            raise InputError(f"{path}: the series cannot be referred to ({type(error).__name__}); write nifti or seg.nrrd") from error
        with replacing(path) as temporary:
            seg.save_as(temporary)


def _frames(planes: npt.NDArray[np.uint8], headers: list[Any], series: Series) -> npt.NDArray[np.uint8]:
    """Planes in the order of the source's frames."""
    if len(headers) > 1 or not headers[0].get("NumberOfFrames"):
        return planes
    frames = np.zeros((int(headers[0].NumberOfFrames), *planes.shape[1:]), np.uint8)
    frames[[item.frame for item in series.stack.slices]] = planes
    return frames


def _segment(number: int, item: LabelClass, algorithm: Algorithm, hd: Any) -> Any:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=meaning(item),
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
