"""Writes label maps as DICOM RT structure sets: closed contours in the planes of the series."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.errors import require
from nnstudent.io.atomic import replacing
from nnstudent.io.dicom.derived import SERIES_NUMBER, Algorithm, LabeledSeries
from nnstudent.io.dicom.origin import File, Origin
from nnstudent.io.dicom.read import quiet
from nnstudent.io.dicom.slices import Slice
from nnstudent.io.terms import meaning, type_code
from nnstudent.taxonomy import LabelClass
from nnstudent.types import Float64Array, MaskArray

Points = Float64Array  # (point, 2): column, row


def write_rtstruct(path: Path, labeled: LabeledSeries) -> None:
    """Write an RT structure set in the study of a series, with a region for each class found.

    Contours run between voxel centres, so that a centre is inside if and only if its voxel is
    labeled. A hole is joined to the outline by a channel of no width, as the standard prescribes.

    Args:
        path: The file to write.
        labeled: The labels and their series.

    Raises:
        MissingExtraError: contourpy is not installed.
        OutputError: ``path`` cannot be written.
    """
    pydicom = require("pydicom", extra="dicom", why="writing RTSTRUCT")
    origin, slices, classes = labeled.origin, labeled.series.stack.slices, labeled.classes
    with quiet():
        images = [_dataset(pydicom, **_reference(item, origin.files[item.path])) for item in slices]
        structures = _structure_set(origin, labeled.algorithm, pydicom)
        names = [meaning(item) for item in classes]
        origin.describe(structures, more=[labeled.algorithm.name, *names])
        structures.ReferencedFrameOfReferenceSequence = [_referenced(origin, images, pydicom)]
        structures.StructureSetROISequence = [
            _roi(number, item, labeled, pydicom) for number, item in enumerate(classes, start=1)
        ]
        structures.ROIContourSequence = [
            _dataset(
                pydicom,
                ROIDisplayColor=list(item.color),
                ReferencedROINumber=number,
                ContourSequence=[
                    _contour(ring, plane, image, pydicom)
                    for mask, plane, image in zip(
                        labeled.planes == item.id, slices, images, strict=True
                    )
                    if mask.any()
                    for ring in outlines(mask)
                ],
            )
            for number, item in enumerate(classes, start=1)
        ]
        structures.RTROIObservationsSequence = [
            _observation(number, item, pydicom) for number, item in enumerate(classes, start=1)
        ]
        with replacing(path) as temporary:
            structures.save_as(temporary, enforce_file_format=True)


def outlines(mask: MaskArray) -> list[Points]:
    """Outline a mask, halfway between the centres of voxels inside and outside.

    Args:
        mask: One plane, (row, column).

    Returns:
        The corners of each piece in voxels, with its holes joined to it. The first corner is not
        repeated at the end.

    Raises:
        MissingExtraError: contourpy is not installed.
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
    """A ring without points on a straight line between their neighbors."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    kept: Points = ring[np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9]
    return kept


def _joined(rings: Sequence[Points]) -> Points:
    """An outline and its holes as one ring; channels lead from where both are closest."""
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


def _structure_set(origin: Origin, algorithm: Algorithm, pydicom: Any) -> Any:
    """The object with the modules of series, equipment and structure set."""
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
        "StructureSetDescription": algorithm.reviewed,
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
        # Detached study management, which the standard still requires.
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=origin.study,
        RTReferencedSeriesSequence=[series],
    )
    return _dataset(
        pydicom, FrameOfReferenceUID=origin.frame_of_reference, RTReferencedStudySequence=[study]
    )


def _roi(number: int, item: LabelClass, labeled: LabeledSeries, pydicom: Any) -> Any:
    algorithm = labeled.algorithm
    note = labeled.notes.get(item.name)
    return _dataset(
        pydicom,
        **({} if note is None else {"ROIDescription": note}),
        ROINumber=number,
        ReferencedFrameOfReferenceUID=labeled.origin.frame_of_reference,
        ROIName=meaning(item)[:64],
        ROIGenerationAlgorithm=algorithm.generation,
        ROIGenerationDescription=f"{algorithm.name} {algorithm.version}"[:64],
    )


def _observation(number: int, item: LabelClass, pydicom: Any) -> Any:
    code = type_code(item)
    identification = _dataset(
        pydicom,
        CodeValue=code.value,
        CodingSchemeDesignator=code.scheme,
        CodeMeaning=code.meaning,
    )
    return _dataset(
        pydicom,
        ObservationNumber=number,
        ReferencedROINumber=number,
        ROIObservationLabel=meaning(item)[:16],
        RTROIIdentificationCodeSequence=[identification],
        # A person decides whether a lesion is a target.
        RTROIInterpretedType="ORGAN" if item.kind == "organ" else "",
        ROIInterpreter="",
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
