"""Label maps as DICOM RT structure sets: closed contours in the planes of the series that was segmented."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.errors import require
from nnstudent.io.atomic import replacing
from nnstudent.io.dicom.derived import (
    SERIES_NUMBER,
    Algorithm,
    File,
    Origin,
    found_on_slices,
    read_origin,
)
from nnstudent.io.dicom.find import quiet
from nnstudent.io.dicom.series import Series
from nnstudent.io.dicom.stack import Slice
from nnstudent.io.terms import meaning, type_code
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.volume import Volume

Points = npt.NDArray[np.float64]


def write_rtstruct(
    path: Path,
    labels: Volume,
    series: Series,
    taxonomy: Taxonomy,
    *,
    algorithm: Algorithm,
    origin: Origin | None = None,
) -> None:
    """Write an RT structure set in the study of a series, with a region for each class that was found.

    Contours run between the voxels' centres, so that a centre is inside if and only if its voxel is labeled. A hole is joined
    to the outline by a channel of no width, as the standard has it.

    Args:
        path: Where to.
        labels: On the grid of ``series.volume``.
        series: What was segmented.
        taxonomy: The label table: names, codes, colors.
        algorithm: What made the labels.
        origin: What the object takes over of the series; None to read it.

    Raises:
        InputError: Nothing was found, or the series lacks a UID.
        MissingExtraError: contourpy is not installed.
        OutputError: ``path`` cannot be written.
    """
    pydicom = require("pydicom", extra="dicom", why="writing RTSTRUCT")
    origin = origin or read_origin(series)
    planes, found = found_on_slices(path, labels, series, taxonomy)
    with quiet():
        referenced = [
            _dataset(pydicom, **_reference(item, origin.files[item.path]))
            for item in series.stack.slices
        ]
        structures = _head(origin, algorithm, pydicom)
        origin.describe(structures, more=[algorithm.name, *(meaning(item) for item in found)])
        structures.ReferencedFrameOfReferenceSequence = [_referenced(origin, referenced, pydicom)]
        (
            structures.StructureSetROISequence,
            structures.ROIContourSequence,
            structures.RTROIObservationsSequence,
        ) = [], [], []
        for number, item in enumerate(found, start=1):
            _add(structures, number, item, origin.frame_of_reference, algorithm, pydicom)
            structures.ROIContourSequence[-1].ContourSequence = [
                _contour(ring, plane, image, pydicom)
                for mask, plane, image in zip(
                    planes == item.id, series.stack.slices, referenced, strict=True
                )
                if mask.any()
                for ring in outlines(mask)
            ]
        with replacing(path) as temporary:
            structures.save_as(temporary, enforce_file_format=True)


def outlines(mask: npt.NDArray[np.bool_]) -> list[Points]:
    """Closed outlines of a plane's mask, half way between the centres of voxels inside and outside.

    Returns:
        Of each piece its corners (column, row) in voxels, holes joined to it; the last corner is not the first again.
    """
    contourpy = require("contourpy", extra="dicom", why="writing RTSTRUCT")
    generator = contourpy.contour_generator(
        z=np.pad(mask, 1).astype(np.float64), fill_type=contourpy.FillType.OuterOffset
    )
    pieces, offsets = generator.filled(0.5, 2.0)
    return [
        _joined([_corners(points[a : b - 1] - 1) for a, b in pairwise(starts)])
        for points, starts in zip(pieces, offsets, strict=True)
    ]


def _corners(ring: Points) -> Points:
    """A ring without the points that lie on a straight line between their neighbors."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    kept: Points = ring[np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9]
    return kept


def _joined(rings: Sequence[Points]) -> Points:
    """An outline and its holes as one ring, each hole by a channel from where both are nearest."""
    joined = rings[0]
    for hole in rings[1:]:
        apart = np.linalg.norm(joined[:, None] - hole[None], axis=2)
        at, first = np.unravel_index(apart.argmin(), apart.shape)
        around = np.roll(hole, -int(first), axis=0)
        joined = np.concatenate([joined[: at + 1], around, around[:1], joined[at:]])
    return joined


def _dataset(pydicom: Any, **values: Any) -> Any:
    dataset = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _reference(item: Slice, file: File) -> dict[str, Any]:
    frame = {"ReferencedFrameNumber": item.frame + 1} if file.frames else {}
    return {"ReferencedSOPClassUID": file.sop_class, "ReferencedSOPInstanceUID": file.uid, **frame}


def _head(origin: Origin, algorithm: Algorithm, pydicom: Any) -> Any:
    """Series, equipment and structure set of this object."""
    uid, now = pydicom.uid.generate_uid, datetime.now()
    structures = pydicom.Dataset()
    values = {
        "SOPClassUID": pydicom.uid.RTStructureSetStorage,
        "SOPInstanceUID": uid(),
        "InstanceCreationDate": now.strftime("%Y%m%d"),
        "InstanceCreationTime": now.strftime("%H%M%S"),
        "Modality": "RTSTRUCT",
        "SeriesInstanceUID": uid(),
        "SeriesNumber": SERIES_NUMBER + origin.number + 1,
        "SeriesDescription": "nnStudent segmentation",
        "OperatorsName": "",
        "Manufacturer": "nnStudent",
        "ManufacturerModelName": algorithm.name,
        "SoftwareVersions": algorithm.version,
        "DeviceSerialNumber": algorithm.model,
        "StructureSetLabel": "nnStudent",
        "StructureSetDescription": "Made by a machine, not reviewed",
        "StructureSetDate": now.strftime("%Y%m%d"),
        "StructureSetTime": now.strftime("%H%M%S"),
        "FrameOfReferenceUID": origin.frame_of_reference,
        "PositionReferenceIndicator": "",
        "ApprovalStatus": "UNAPPROVED",
    }
    for keyword, value in values.items():
        setattr(structures, keyword, value)
    structures.file_meta = pydicom.dataset.FileMetaDataset()
    structures.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return structures


def _referenced(origin: Origin, images: Sequence[Any], pydicom: Any) -> Any:
    series = _dataset(pydicom, SeriesInstanceUID=origin.series, ContourImageSequence=list(images))
    study = _dataset(
        pydicom,
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",  # detached study management, as the standard still asks
        ReferencedSOPInstanceUID=origin.study,
        RTReferencedSeriesSequence=[series],
    )
    return _dataset(
        pydicom, FrameOfReferenceUID=origin.frame_of_reference, RTReferencedStudySequence=[study]
    )


def _add(
    structures: Any,
    number: int,
    item: LabelClass,
    frame_of_reference: str,
    algorithm: Algorithm,
    pydicom: Any,
) -> None:
    """A region without its contours."""
    code = type_code(item)
    structures.StructureSetROISequence.append(
        _dataset(
            pydicom,
            ROINumber=number,
            ReferencedFrameOfReferenceUID=frame_of_reference,
            ROIName=meaning(item)[:64],
            ROIGenerationAlgorithm="AUTOMATIC",
            ROIGenerationDescription=f"{algorithm.name} {algorithm.version}"[:64],
        )
    )
    structures.ROIContourSequence.append(
        _dataset(pydicom, ROIDisplayColor=list(item.color), ReferencedROINumber=number)
    )
    structures.RTROIObservationsSequence.append(
        _dataset(
            pydicom,
            ObservationNumber=number,
            ReferencedROINumber=number,
            ROIObservationLabel=meaning(item)[:16],
            RTROIIdentificationCodeSequence=[
                _dataset(
                    pydicom,
                    CodeValue=code.value,
                    CodingSchemeDesignator=code.scheme,
                    CodeMeaning=code.meaning,
                )
            ],
            RTROIInterpretedType="ORGAN"
            if item.kind == "organ"
            else "",  # what is target is for a person to say
            ROIInterpreter="",
        )
    )


def _contour(ring: Points, plane: Slice, image: Any, pydicom: Any) -> Any:
    right, down = plane.orientation[:3] * plane.spacing[1], plane.orientation[3:] * plane.spacing[0]
    points = plane.position + ring[:, :1] * right + ring[:, 1:] * down
    return _dataset(
        pydicom,
        ContourImageSequence=[image],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(points),
        ContourData=[f"{value:.3f}" for value in points.ravel()],
    )
