"""The parts of a DICOM image header that reading needs, as checked plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nnstudent.io.dicom.values import Values
from nnstudent.types import Float64Array

Sort = Literal["ct", "localizer", "capture", "other"]

# Elements that may differ between two volumes with one series UID; enhanced images have them in
# functional groups.
IDENTITY = ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID")
TRAITS = (
    "StackID", "TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionNumber",
    "ImageType", "ConvolutionKernel", "KVP", "NominalPercentageOfCardiacPhase", "TriggerTime",
    "IrradiationEventUID", "AcquisitionDateTime", "AcquisitionTime", "FilterType", "SliceThickness",
)  # fmt: skip
# Elements that state the order in which planes were acquired or made.
ORDERS = ("AcquisitionDateTime", "AcquisitionTime", "ContentTime", "InstanceNumber")
# Elements that must agree between the slices of a volume; otherwise their values differ in meaning.
VALUES = (
    "RescaleType",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "ModalityLUTSequence",
)
TAGS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
    "NumberOfFrames", "SamplesPerPixel", "RescaleSlope", "RescaleIntercept",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ContentTime",
    "InstanceNumber", *IDENTITY, *TRAITS, *VALUES,
)  # fmt: skip
_FRAME_TRAITS = {
    "FrameContentSequence": {
        "StackID": "StackID",
        "TemporalPositionIndex": "TemporalPositionIndex",
        "FrameAcquisitionNumber": "AcquisitionNumber",
        "FrameAcquisitionDateTime": "AcquisitionDateTime",
    },
    "CTImageFrameTypeSequence": {"FrameType": "ImageType"},
    "CTReconstructionSequence": {"ConvolutionKernel": "ConvolutionKernel"},
    "CTXRayDetailsSequence": {"KVP": "KVP", "FilterType": "FilterType"},
    "CardiacSynchronizationSequence": {
        "NominalPercentageOfCardiacPhase": "NominalPercentageOfCardiacPhase"
    },
    "IrradiationEventIdentificationSequence": {"IrradiationEventUID": "IrradiationEventUID"},
}
_MOST_PIXELS = 1 << 26  # per plane; a CT has 2^18, the finest reconstructions 2^22
_MOST_FRAMES = 1 << 16
_MOST_MM = 1e5
_UNIT = 0.02  # A direction rounded to two decimals may be this far from length 1.


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane of an image.

    Attributes:
        path: Its file; empty if the header comes from an archive.
        instance: SOP instance UID of its file.
        frame: Its number in the file, from 0.
        size: Rows, columns.
        position: Centre of its first voxel, LPS, mm; None if the header does not state it.
        orientation: Direction along a row, then along a column, LPS; None if it is not stated.
        spacing: Distance between rows, then between columns, mm; None if it is not stated.
        slope: HU per stored unit; None if it is not stated.
        intercept: HU of the stored value 0; None if it is not stated.
        traits: Elements that may distinguish it from the planes of another volume, by keyword.
    """

    path: Path
    instance: str
    frame: int
    size: tuple[int, int]
    position: Float64Array | None
    orientation: Float64Array | None
    spacing: Float64Array | None
    slope: float | None
    intercept: float | None
    traits: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Header:
    """The header of an image.

    Attributes:
        path: Its file; empty if the header comes from an archive.
        series: Series instance UID.
        number: Number of the series; ``?`` if it has none.
        modality: The modality that it states; ``unknown`` if it states none.
        sort: ``ct`` if it shows planes of a CT; otherwise what it is instead.
        image: Whether it has rows and columns.
        planes: The planes of a CT.
    """

    path: Path
    series: str
    number: str
    modality: str
    sort: Sort
    image: bool
    planes: tuple[Plane, ...]

    @classmethod
    def of(cls, dataset: Any, path: Path | None = None) -> Header:
        """Read a header.

        Args:
            dataset: A pydicom data set with the elements of :data:`TAGS`.
            path: Its file; None if it comes from an archive.

        Raises:
            InputError: An element that is needed is malformed.
        """
        values = Values(dataset, str(path) if path else "header")
        sort = _sort(values)
        planes = tuple(_planes(values, path or Path())) if sort == "ct" else ()
        number = values.trait("SeriesNumber") or "?"
        return cls(
            path or Path(),
            values.text("SeriesInstanceUID"),
            number,
            values.text("Modality") or "unknown",
            sort,
            bool(values.trait("Rows")),
            planes,
        )


def _sort(values: Values) -> Sort:
    """What an image shows. Screenshots call themselves CT too, but have no place in the patient."""
    if values.text("Modality") != "CT":
        return "other"
    if "LOCALIZER" in [word.upper() for word in values.texts("ImageType")]:
        return "localizer"
    if values.number("SamplesPerPixel") not in (None, 1):
        return "capture"
    # Secondary capture, of one frame or several.
    captured = values.text("SOPClassUID").startswith("1.2.840.10008.5.1.4.1.1.7")
    return "capture" if captured and values.numbers("ImagePositionPatient") is None else "ct"


def _planes(values: Values, path: Path) -> Iterator[Plane]:
    rows, columns = (values.integer(tag, least=1, most=65535) for tag in ("Rows", "Columns"))
    if rows is None or columns is None:
        raise values.wrong(
            "Rows" if rows is None else "Columns", "the size of a CT image", state="missing"
        )
    if rows * columns > _MOST_PIXELS:
        raise values.wrong(
            "Rows",
            f"a CT image of at most {_MOST_PIXELS} pixels",
            state=f"{rows}, Columns {columns}",
        )
    frames = values.integer("NumberOfFrames", least=1, most=_MOST_FRAMES) or 1
    common = {
        tag: values.trait(tag) for tag in (*IDENTITY, *TRAITS, *ORDERS, *VALUES) if tag in values
    }
    if "ModalityLUTSequence" in values:
        common["ModalityLUTSequence"] = "a table"
    instance = values.text("SOPInstanceUID")
    levels = list(_levels(values))
    if frames != len(levels):
        raise values.wrong(
            "NumberOfFrames",
            "an Enhanced CT or one slice per file",
            state=f"{frames} frames without a place for each",
        )
    for frame, (position, orientation, measures, transform, traits) in enumerate(levels):
        number = common.get("InstanceNumber", "") if frames == 1 else str(frame)
        yield Plane(
            path,
            instance,
            frame,
            (rows, columns),
            _position(position),
            _orientation(orientation),
            _spacing(measures),
            None if transform is None else transform.number("RescaleSlope", least=1e-6, most=1e4),
            None
            if transform is None
            else transform.number("RescaleIntercept", least=-1e5, most=1e5),
            {**common, **traits, "InstanceNumber": number},
        )


def _position(values: Values | None) -> Float64Array | None:
    position = None if values is None else values.numbers("ImagePositionPatient", 3)
    if values is not None and position is not None and np.abs(position).max() > _MOST_MM:
        raise values.wrong("ImagePositionPatient", "a position within 100 m")
    return position


def _orientation(values: Values | None) -> Float64Array | None:
    orientation = None if values is None else values.numbers("ImageOrientationPatient", 6)
    if values is not None and orientation is not None:
        lengths = np.linalg.norm(orientation.reshape(2, 3), axis=1)
        if np.abs(lengths - 1).max() > _UNIT:
            raise values.wrong("ImageOrientationPatient", "two directions of length 1")
    return orientation


def _spacing(values: Values | None) -> Float64Array | None:
    spacing = None if values is None else values.numbers("PixelSpacing", 2)
    if values is not None and spacing is not None and (spacing.min() < 1e-3 or spacing.max() > 1e2):
        raise values.wrong("PixelSpacing", "two distances from 0.001 to 100 mm")
    return spacing


def _levels(
    values: Values,
) -> Iterator[tuple[Values | None, Values | None, Values | None, Values | None, dict[str, str]]]:
    """Yield what holds each plane's position, orientation, spacing, and slope; then its traits."""
    if "PerFrameFunctionalGroupsSequence" not in values:
        yield values, values, values, values, {}
        return
    shared = values.items("SharedFunctionalGroupsSequence")[:1]
    common = _frame_traits(shared)
    for frame in values.items("PerFrameFunctionalGroupsSequence"):
        levels = [frame, *shared]
        position, orientation, measures, transform = (
            next((items[0] for level in levels if (items := level.items(name))), None)
            for name in (
                "PlanePositionSequence",
                "PlaneOrientationSequence",
                "PixelMeasuresSequence",
                "PixelValueTransformationSequence",
            )
        )
        traits = {**common, **_frame_traits([frame])}
        if transform is not None:
            traits["RescaleType"] = transform.trait("RescaleType")
        yield position, orientation, measures, transform, traits


def _frame_traits(levels: list[Values]) -> dict[str, str]:
    return {
        trait: items[0].trait(tag)
        for level in levels
        for name, names in _FRAME_TRAITS.items()
        if (items := level.items(name))
        for tag, trait in names.items()
        if tag in items[0]
    }
