"""A CT series for tests, whose values state where they are and whose patient must not leak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

ROWS, COLUMNS, SLICES = 6, 8, 5
SPACING = (0.75, 0.5, 2.5)  # between rows, between columns, between slices, mm
CT = "1.2.840.10008.5.1.4.1.1.2"
PATIENT = "Secretname^Petra"
_AXES = [sign * np.eye(3)[axis] for axis in range(3) for sign in (1, -1)]
# All 48: every row direction with every column direction, and slices numbered with and against
# their normal.
ORIENTATIONS = [
    (row, column, turned)
    for row in _AXES
    for column in _AXES
    if not row @ column
    for turned in (False, True)
]


class Series:
    """A CT series; stored values are 100·slice + 10·row + column by default, HU are 1024 less."""

    def __init__(
        self,
        *,
        row=(1, 0, 0),
        column=(0, 1, 0),
        origin=(-20.0, -30.0, 100.0),
        slices=SLICES,
        stored=None,
        number=3,
        spacing=SPACING,
    ) -> None:
        self.row, self.column = np.array(row, float), np.array(column, float)
        self.normal = np.cross(self.row, self.column)
        self.origin, self.spacing = np.array(origin), spacing
        self.uid, self.number = generate_uid(), number
        self.study, self.frame_of_reference = generate_uid(), generate_uid()
        if stored is None:
            k, j, i = np.indices((slices, ROWS, COLUMNS))
            stored = 100 * k + 10 * j + i
        self.stored = np.asarray(stored)
        self.slices = [self.slice(k) for k in range(len(self.stored))]

    @property
    def affine(self) -> np.ndarray:
        """Voxel (column, row, slice) → LPS, mm."""
        affine = np.eye(4)
        dr, dc, ds = self.spacing
        affine[:3] = np.stack(
            [self.row * dc, self.column * dr, self.normal * ds, self.origin], axis=1
        )
        return affine

    def slice(self, k: int) -> Any:
        header = pydicom.Dataset()
        header.SpecificCharacterSet = "ISO_IR 192"
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.SOPClassUID, header.SOPInstanceUID = CT, generate_uid()
        header.StudyDate, header.StudyTime, header.AccessionNumber = "20260102", "101112", "ACC77"
        header.Modality, header.Manufacturer = "CT", "Maker"
        header.ReferringPhysicianName, header.StudyDescription = "Referrer^Rita", "Secretstudy"
        header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = (
            PATIENT,
            "PID-4711",
            "19610203",
            "F",
        )
        header.StudyInstanceUID, header.SeriesInstanceUID = self.study, self.uid
        header.Laterality, header.PatientPosition = "", "HFS"
        header.StudyID, header.SeriesNumber, header.SeriesDescription = (
            "S1",
            self.number,
            "Secretseries",
        )
        header.InstanceNumber, header.FrameOfReferenceUID, header.PositionReferenceIndicator = (
            k + 1,
            self.frame_of_reference,
            "",
        )
        header.KVP, header.AcquisitionNumber, header.SliceThickness = 120, 1, self.spacing[2]
        header.ImagePositionPatient = [
            float(v) for v in self.origin + k * self.spacing[2] * self.normal
        ]
        header.ImageOrientationPatient = [float(v) for v in (*self.row, *self.column)]
        header.PixelSpacing = list(self.spacing[:2])
        header.Rows, header.Columns = self.stored.shape[1:]
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = (
            16,
            16,
            15,
            0,
        )
        header.RescaleSlope, header.RescaleIntercept = 1, -1024
        header.PixelData = self.stored[k].astype("<u2").tobytes()
        header["PixelData"].VR = "OW"
        return header

    def write(self, folder: Path) -> Path:
        folder.mkdir(exist_ok=True, parents=True)
        for number, header in enumerate(self.slices):
            save(
                header, folder / f"{self.number}_{(number * 7) % 11:03d}_{number}.dcm"
            )  # names in another order than the slices lie
        return folder


def anatomy(lps: np.ndarray) -> np.ndarray:
    """Labels at places (..., 3) in LPS, mm: a liver with a tumor and a hole, and two adrenals.

    The patient is not his own mirror image.
    """
    left, back, up = np.moveaxis(lps, -1, 0)
    labels = np.zeros(lps.shape[:-1], np.uint8)
    labels[(left < 2.1) & (back < 3.3) & (up > -5.2) & (up < 9.7)] = 1
    labels[
        (left < -1.3) & (left > -5.1) & (back < 0.2) & (back > -4.4) & (up > -1.1) & (up < 6.2)
    ] = 14
    labels[
        (left < -2.7) & (left > -3.9) & (back < -1.3) & (back > -3.1) & (up > -1.1) & (up < 6.2)
    ] = 0
    labels[(left < -3.1) & (back > 6.4) & (np.abs(up) < 2.2)] = 7
    labels[(left > 5.3) & (back > 4.9) & (np.abs(up - 3) < 1.9)] = 8
    return labels


def anatomical(row, column, turned) -> Series:
    """The anatomy in one of the orientations; stored values are 100 times the labels."""
    shape, spacing = (12, 16, 18), (1.1, 0.9, 1.3)
    series = Series(row=row, column=column, slices=1, stored=np.zeros(shape), spacing=spacing)
    series.origin = -sum(
        axis * mm * (size - 1) / 2
        for axis, mm, size in zip(
            (series.normal, series.column, series.row),
            (spacing[2], *spacing[:2]),
            shape,
            strict=True,
        )
    )
    series.stored = 100 * anatomy(places(series.affine, shape)).astype(int)
    series.slices = [series.slice(k) for k in range(shape[0])]
    if turned:
        for number, header in enumerate(reversed(series.slices), start=1):
            header.InstanceNumber = number
        series.slices.reverse()
    return series


def places(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Places of an array's voxels (slice, row, column), by an affine of (column, row, slice)."""
    k, j, i = np.indices(shape)
    return np.stack([i, j, k, np.ones_like(i)], axis=-1) @ np.asarray(affine)[:3].T


def save(header: Any, path: Path, *, kind: str = "") -> None:
    header.file_meta = pydicom.dataset.FileMetaDataset()
    if kind:
        header.file_meta.MediaStorageSOPClassUID, header.file_meta.MediaStorageSOPInstanceUID = (
            kind,
            generate_uid(),
        )
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.save_as(path, enforce_file_format=True)


def compress(folder: Path, syntax: str) -> Path:
    """Compress the slices of a folder through gdcm, whose name for the transfer syntax is given."""
    gdcm = pytest.importorskip("gdcm", reason="compresses the test's series")
    for path in folder.iterdir():
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(path))
        assert writer.Write()
    return folder


def enhanced(series: Series, path: Path, *, heights: list[float] | None = None) -> Path:
    """Write a series as one Enhanced CT, its frames from the last slice to the first.

    Args:
        series: The series.
        path: The file.
        heights: Place of each slice along the normal, mm; None for the series' own.
    """
    header = series.slice(0)
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    header.NumberOfFrames = len(series.stored)
    header.PixelData = series.stored[::-1].astype("<u2").tobytes()
    orientation, measures, shared = (pydicom.Dataset() for _ in range(3))
    orientation.ImageOrientationPatient = header.ImageOrientationPatient
    measures.PixelSpacing = header.PixelSpacing
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    frames = []
    for k in reversed(range(len(series.stored))):
        position, values, frame = (pydicom.Dataset() for _ in range(3))
        height = k * series.spacing[2] if heights is None else heights[k]
        position.ImagePositionPatient = [float(v) for v in series.origin + height * series.normal]
        values.RescaleSlope, values.RescaleIntercept = 1, -1024
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [values]
        frames.append(frame)
    header.SharedFunctionalGroupsSequence = [shared]
    header.PerFrameFunctionalGroupsSequence = frames
    for tag in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing",
                "RescaleSlope", "RescaleIntercept"):  # fmt: skip
        delattr(header, tag)
    save(header, path)
    return path
