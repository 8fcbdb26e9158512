"""A CT series made for tests: a place for every plane, values that say where they are, and a patient whose name must not leak."""

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


class Series:
    """A CT series; by default its pixel values are 100·slice + 10·row + column, HU that less 1024."""

    def __init__(
        self, *, row=(1, 0, 0), column=(0, 1, 0), origin=(-20.0, -30.0, 100.0), slices=SLICES, stored=None, number=3, spacing=SPACING
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
        affine[:3] = np.stack([self.row * dc, self.column * dr, self.normal * ds, self.origin], axis=1)
        return affine

    def slice(self, k: int) -> Any:
        header = pydicom.Dataset()
        header.SpecificCharacterSet = "ISO_IR 192"
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.SOPClassUID, header.SOPInstanceUID = CT, generate_uid()
        header.StudyDate, header.StudyTime, header.AccessionNumber = "20260102", "101112", "ACC77"
        header.Modality, header.Manufacturer = "CT", "Maker"
        header.ReferringPhysicianName, header.StudyDescription = "Referrer^Rita", "Secretstudy"
        header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = PATIENT, "PID-4711", "19610203", "F"
        header.StudyInstanceUID, header.SeriesInstanceUID = self.study, self.uid
        header.StudyID, header.SeriesNumber, header.SeriesDescription = "S1", self.number, "Secretseries"
        header.InstanceNumber, header.FrameOfReferenceUID, header.PositionReferenceIndicator = k + 1, self.frame_of_reference, ""
        header.KVP, header.AcquisitionNumber, header.SliceThickness = 120, 1, self.spacing[2]
        header.ImagePositionPatient = [float(v) for v in self.origin + k * self.spacing[2] * self.normal]
        header.ImageOrientationPatient = [float(v) for v in (*self.row, *self.column)]
        header.PixelSpacing = list(self.spacing[:2])
        header.Rows, header.Columns = self.stored.shape[1:]
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
        header.RescaleSlope, header.RescaleIntercept = 1, -1024
        header.PixelData = self.stored[k].astype("<u2").tobytes()
        header["PixelData"].VR = "OW"
        return header

    def write(self, folder: Path) -> Path:
        folder.mkdir(exist_ok=True, parents=True)
        for number, header in enumerate(self.slices):
            save(header, folder / f"{self.number}_{(number * 7) % 11:03d}_{number}.dcm")  # names in another order than the slices lie
        return folder


def save(header: Any, path: Path) -> None:
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.save_as(path, enforce_file_format=True)
