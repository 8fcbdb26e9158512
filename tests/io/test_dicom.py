from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnstudent.errors import GeometryError, InputError, MissingExtraError
from nnstudent.io.dicom import read_series
from nnstudent.io.nifti import read_labels

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

ROWS, COLUMNS, SLICES = 6, 8, 5
SPACING = (0.75, 0.5, 2.5)  # between rows, between columns, between slices


class Series:
    """A CT series whose pixel values say where they are: 100·slice + 10·row + column."""

    def __init__(self, *, row=(1, 0, 0), column=(0, 1, 0), origin=(-20.0, -30.0, 100.0), slices=SLICES) -> None:
        self.row, self.column = np.array(row, float), np.array(column, float)
        self.normal = np.cross(self.row, self.column)
        self.origin = np.array(origin)
        self.uid = generate_uid()
        self.slices = [self.slice(k) for k in range(slices)]

    def slice(self, k: int):
        header = pydicom.Dataset()
        header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        header.SOPInstanceUID = generate_uid()
        header.SeriesInstanceUID, header.SeriesNumber, header.SeriesDescription = self.uid, 3, "Abdomen"
        header.Modality = "CT"
        header.ImagePositionPatient = [float(v) for v in self.origin + k * SPACING[2] * self.normal]
        header.ImageOrientationPatient = [float(v) for v in (*self.row, *self.column)]
        header.PixelSpacing = list(SPACING[:2])
        header.Rows, header.Columns = ROWS, COLUMNS
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
        header.RescaleSlope, header.RescaleIntercept = 1, -1024
        row, column = np.indices((ROWS, COLUMNS))
        header.PixelData = (100 * k + 10 * row + column).astype("<u2").tobytes()
        return header

    def write(self, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        for number, header in enumerate(self.slices):
            header.file_meta = pydicom.dataset.FileMetaDataset()
            header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            name = f"{(number * 7) % 11:03d}.dcm"  # names in another order than the slices lie
            header.save_as(folder / name, enforce_file_format=True)
        return folder


@pytest.mark.parametrize(
    ("row", "column", "axcodes"),
    [
        ((1, 0, 0), (0, 1, 0), "LPS"),
        ((-1, 0, 0), (0, 1, 0), "RPI"),  # a negated cosine turns the stack, not the anatomy
        ((1, 0, 0), (0, 0, -1), "LIP"),
        ((0, 1, 0), (0, 0, -1), "PIR"),
    ],
)
def test_every_voxel_is_where_its_slice_says(tmp_path, row, column, axcodes):
    series = Series(row=row, column=column)
    image = read_series(series.write(tmp_path / "s"))
    assert image.array.dtype == np.int16
    assert image.grid.axcodes == axcodes
    assert image.grid.spacing_mm == pytest.approx((SPACING[2], SPACING[0], SPACING[1]))
    for k, j, i in ((0, 0, 0), (4, 5, 7), (2, 1, 6)):
        lps = series.origin + k * SPACING[2] * series.normal + j * SPACING[0] * series.column + i * SPACING[1] * series.row
        index = np.linalg.inv(image.grid.affine) @ (*(lps * (-1, -1, 1)), 1)
        x, y, z = np.rint(index[:3]).astype(int)
        assert np.allclose(index[:3], (x, y, z), atol=1e-6)
        assert image.array[z, y, x] == 100 * k + 10 * j + i - 1024


def test_slope_and_intercept_are_each_slices_own(tmp_path):
    series = Series()
    series.slices[2].RescaleSlope, series.slices[2].RescaleIntercept = 0.5, -3.25
    image = read_series(series.write(tmp_path / "s"))
    assert image.array.dtype == np.float32
    assert image.array[2, 3, 4] == pytest.approx(234 * 0.5 - 3.25)
    assert image.array[1, 3, 4] == 134 - 1024


def test_values_beyond_16_bits_are_not_wrapped(tmp_path):
    series = Series()
    series.slices[0].PixelData = np.full((ROWS, COLUMNS), 65000, "<u2").tobytes()
    image = read_series(series.write(tmp_path / "s"))
    assert image.array[0].max() == 65000 - 1024
    assert image.array[1, 0, 0] == 100 - 1024


def test_other_files_are_passed_over(tmp_path):
    folder = Series().write(tmp_path / "s")
    (folder / "README.txt").write_text("from the PACS")
    (folder / ".hidden").write_bytes(b"")
    (folder / "deeper").mkdir()
    assert read_series(folder).array.shape == (SLICES, ROWS, COLUMNS)


def _without(tag):
    def change(series):
        delattr(series.slices[1], tag)

    return change


def _set(tag, value, at=1):
    def change(series):
        setattr(series.slices[at], tag, value)

    return change


def _tilted(series):
    for k, header in enumerate(series.slices):
        header.ImagePositionPatient = [-20.0, -30.0 + 0.6 * k, 100.0 + 2.5 * k]


def _uneven(series):
    series.slices[3].ImagePositionPatient = [-20.0, -30.0, 106.6]


def _strayed(series):
    series.slices[2].ImagePositionPatient = [-12.0, -30.0, 105.0]


def _truncated(series):
    series.slices[2].PixelData = series.slices[2].PixelData[:20]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.slices.pop(2), "1 slice is missing between"),
        (lambda s: s.slices.__delitem__(slice(1, 3)), "2 slices are missing between"),
        (_uneven, "slices are unevenly spaced"),
        (_strayed, "do not lie one above the other"),
        (_tilted, r"tilted by 13\.5°"),
        (lambda s: s.slices.append(s.slice(3)), "two slices at one place"),
        (lambda s: s.slices.__setitem__(slice(None), s.slices[:1]), "one slice only"),
        (_set("SeriesInstanceUID", "1.2.3"), "holds 2 series"),
        (lambda s: [setattr(h, "Modality", "MR") for h in s.slices], "modality MR; expected CT"),
        (_set("ImageOrientationPatient", [0.0, 1, 0, 0, 0, -1]), "is turned against"),
        (_set("PixelSpacing", [1.0, 1.0]), "another size or pixel spacing"),
        (_set("NumberOfFrames", 4), "a multi-frame object"),
        (_set("SamplesPerPixel", 3), "a color image"),
        (_without("ImagePositionPatient"), "ImagePositionPatient is missing"),
        (_without("PixelSpacing"), "PixelSpacing is missing"),
        (_truncated, "the pixels cannot be decoded"),
    ],
)
def test_what_is_no_single_straight_stack_is_refused(tmp_path, change, said):
    series = Series()
    change(series)
    folder = series.write(tmp_path / "s")
    with pytest.raises(InputError, match=said) as error:
        read_series(folder)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_direction_that_is_none(tmp_path):
    with pytest.raises(GeometryError, match="not at right angles"):
        read_series(Series(row=(1, 0, 0), column=(0.6, 0.8, 0)).write(tmp_path / "s"))


def test_no_dicom(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="no DICOM image in it"):
        read_series(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read_series(tmp_path / "none")


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(MissingExtraError, match=r"nnstudent\[dicom\]"):
        read_series(tmp_path)


def test_real_series(real_data):
    """JPEG 2000, stored LAS in its label: anatomy must fall on anatomy."""
    image = read_series(real_data / "ts_dicom20" / "series")
    labels = read_labels(real_data / "ts_dicom20" / "label.nii.gz").reoriented(image.grid.axcodes)
    assert labels.grid.matches(image.grid)
    assert 60 < np.median(image.array[labels.array == 1]) < 140  # enhanced liver, HU
    assert 100 < np.median(image.array[labels.array == 5]) < 250  # enhanced aorta
    assert image.array.min() == -1024
