from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from nnstudent.errors import GeometryError, InputError, MissingExtraError
from nnstudent.io.dicom.series import read_series
from nnstudent.io.nifti import read_labels

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
from pydicom.uid import MediaStorageDirectoryStorage  # noqa: E402

from tests.io.series import (  # noqa: E402
    COLUMNS,
    PATIENT,
    ROWS,
    SLICES,
    SPACING,
    Series,
    compress,
    save,
)


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
    image = read_series(series.write(tmp_path / "s")).volume
    assert image.array.dtype == np.int16
    assert image.grid.axcodes == axcodes
    assert image.grid.spacing_mm == pytest.approx((SPACING[2], SPACING[0], SPACING[1]))
    for k, j, i in ((0, 0, 0), (4, 5, 7), (2, 1, 6)):
        lps = (
            series.origin
            + k * SPACING[2] * series.normal
            + j * SPACING[0] * series.column
            + i * SPACING[1] * series.row
        )
        index = np.linalg.inv(image.grid.affine) @ (*(lps * (-1, -1, 1)), 1)
        x, y, z = np.rint(index[:3]).astype(int)
        assert np.allclose(index[:3], (x, y, z), atol=1e-6)
        assert image.array[z, y, x] == 100 * k + 10 * j + i - 1024


def test_slope_and_intercept_are_each_slices_own(tmp_path):
    series = Series()
    series.slices[2].RescaleSlope, series.slices[2].RescaleIntercept = 0.5, -3.25
    image = read_series(series.write(tmp_path / "s")).volume
    assert image.array.dtype == np.float32
    assert image.array[2, 3, 4] == pytest.approx(234 * 0.5 - 3.25)
    assert image.array[1, 3, 4] == 134 - 1024


def test_values_beyond_16_bits_are_not_wrapped(tmp_path):
    series = Series()
    series.slices[0].PixelData = np.full((ROWS, COLUMNS), 65000, "<u2").tobytes()
    image = read_series(series.write(tmp_path / "s")).volume
    assert image.array[0].max() == 65000 - 1024
    assert image.array[1, 0, 0] == 100 - 1024


def test_other_files_are_passed_over(tmp_path):
    folder = Series().write(tmp_path / "s")
    (folder / "README.txt").write_text("from the PACS")
    (folder / ".hidden").write_bytes(b"")
    (folder / "deeper").mkdir()
    assert read_series(folder).volume.array.shape == (SLICES, ROWS, COLUMNS)


def _without(tag):
    def change(series):
        delattr(series.slices[1], tag)

    return change


def _set(tag, value, at=1):
    def change(series):
        setattr(series.slices[at], tag, value)

    return change


def _move(*moves):
    """Each slice to a place of its own, LPS in mm from where it was."""

    def change(series):
        for header, move in zip(series.slices, moves, strict=True):
            header.ImagePositionPatient = [
                float(a + b) for a, b in zip(header.ImagePositionPatient, move, strict=True)
            ]

    return change


def _truncated(series):
    series.slices[2].PixelData = series.slices[2].PixelData[:20]


def _turned(count):
    def change(series):
        for header in series.slices[:count]:
            header.ImageOrientationPatient = [0.0, 1, 0, 0, 0, -1]

    return change


def _second_picture(series):
    series.slices.append(series.slice(3))
    series.slices[-1].RescaleIntercept = -1000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            _move((0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 9.0), (0, 0, 9.0)),
            "slices are missing between",
        ),
        (
            _move((0, 0, 0), (0, 0, -2.4), (0, 0, -4.8), (0, 0, -7.2), (0, 0, 0)),
            "slices are missing between",
        ),
        (
            _move((0, 0, 0), (0, 0, 0), (8, 0, 0), (0, 0, 0), (0, 0, 0)),
            "do not lie on a straight line",
        ),
        (_move(*[(0, 2.5 * k, 0) for k in range(5)]), "leans by 45°"),
        (_move((0, 0, 0), (0, 5, -2.5), (0, 0, 0), (0, 0, 0), (0, 0, 0)), "lie side by side"),
        (_second_picture, "two different pictures at one place"),
        (lambda s: s.slices.__setitem__(slice(None), s.slices[:1]), "one slice only"),
        (lambda s: [setattr(h, "Modality", "MR") for h in s.slices], "modality MR, or localizers"),
        (lambda s: (s.slices.pop(), _turned(2)(s)), "2 of 4 slices are turned against"),
        (_set("PixelSpacing", [1.0, 1.0]), "another size or pixel spacing"),
        (_set("NumberOfFrames", 4), "4 frames without a place for each"),
        (lambda s: [setattr(h, "SamplesPerPixel", 3) for h in s.slices], "no CT series in it"),
        (_without("ImagePositionPatient"), "ImagePositionPatient is missing"),
        (_without("PixelSpacing"), "PixelSpacing is missing"),
        (_truncated, "the pixels cannot be decoded"),
    ],
)
def test_unreliable_stacks_are_refused(tmp_path, change, said):
    series = Series()
    change(series)
    folder = series.write(tmp_path / "s")
    with pytest.raises(InputError, match=said) as error:
        read_series(folder)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_slice_is_filled_in_and_told(tmp_path):
    series = Series()
    whole = read_series(series.write(tmp_path / "whole"))
    assert whole.warnings == ()
    del series.slices[2]
    read = read_series(series.write(tmp_path / "gap"))
    assert read.volume.grid.matches(whole.volume.grid)
    assert np.array_equal(
        read.volume.array, whole.volume.array
    )  # the values grow linearly, so that the neighbors' mean is the truth
    (warning,) = read.warnings
    assert warning.startswith(
        "1 slice is missing, the widest gap 5.0 mm between 3_007_1.dcm and 3_003_"
    )
    assert read.stack.on_slices(read.volume).shape == (4, ROWS, COLUMNS)
    assert np.array_equal(read.stack.on_slices(read.volume), whole.volume.array[[0, 1, 3, 4]])


def test_copies_of_a_slice_are_taken_once(tmp_path):
    series = Series()
    folder = series.write(tmp_path / "s")
    save(series.slices[2], folder / "copy.dcm")
    read = read_series(folder)
    assert read.volume.array.shape == (SLICES, ROWS, COLUMNS)
    assert read.warnings == (
        "1 slice occurs twice, the same picture at the same place; each is used once",
    )


def test_a_turned_image_in_the_series_is_left_out(tmp_path):
    series = Series()
    folder = series.write(tmp_path / "s")
    scout = series.slice(0)
    scout.ImageOrientationPatient = [0.0, 1, 0, 0, 0, -1]
    save(scout, folder / "scout")
    read = read_series(folder)
    assert read.volume.array.shape == (SLICES, ROWS, COLUMNS)
    assert read.warnings == (
        "1 image is turned against the others, as localizers are, and left out",
    )


def _mixed(folder: Path) -> Series:
    """A PACS export: axial CT, localizer, reformat, screenshot, other modality, report, rubbish."""
    wanted = Series(number=2)
    wanted.write(folder / "DICOM" / "PA0")
    scout = Series(number=1, row=(0, 1, 0), column=(0, 0, -1), slices=2)
    for header in scout.slices:
        header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.write(folder / "DICOM")
    coronal = Series(number=4, column=(0, 0, -1))
    for header in coronal.slices:
        header.ImageType = ["DERIVED", "SECONDARY", "MPR"]
    coronal.write(folder)
    screenshot = Series(number=5, slices=1).slices[0]
    screenshot.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    del screenshot.ImagePositionPatient
    save(screenshot, folder / "IM0001")
    mr = Series(number=6)
    for header in mr.slices:
        header.Modality = "MR"
    mr.write(folder)
    report = wanted.slice(0)
    for tag in ("Rows", "Columns", "PixelData", "PixelSpacing"):
        delattr(report, tag)
    report.Modality = "SR"
    save(report, folder / "report.dcm")
    disc = pydicom.Dataset()
    disc.FileSetID = "DISC"
    save(disc, folder / "DICOMDIR", kind=MediaStorageDirectoryStorage)
    (folder / "README.txt").write_text("from the PACS")
    (folder / ".hidden").write_bytes(b"")
    return wanted


def test_the_ct_is_found_among_everything(tmp_path, capfd):
    wanted = _mixed(tmp_path)
    read = read_series(tmp_path)
    assert np.array_equal(read.volume.array + 1024, wanted.stored)
    warning, passed, others = read.warnings
    assert (
        passed == "passed over files that are not DICOM images: "
        ".hidden (a hidden file), DICOMDIR, README.txt"
    )
    assert others == "passed over other DICOM: 5 MR, 1 SR, 2 localizer, 1 screenshot"
    assert (
        warning == "took CT series 2: 5 images of 8×6, axial; "
        "passed over 4: 5 images of 8×6, not axial; --series takes another"
    )
    assert read_series(tmp_path, series="4").volume.grid.axcodes == "LIP"
    assert read_series(tmp_path, series="4").warnings == (passed, others)
    assert capfd.readouterr() == ("", "")


def test_of_several_that_could_be_meant_one_must_be_named(tmp_path):
    first, second = Series(number=2), Series(number=3, slices=7)
    for header in second.slices:
        header.ConvolutionKernel = "B70f"
    first.write(tmp_path)
    second.write(tmp_path)
    with pytest.raises(
        InputError,
        match=r"2 CT series that could be meant "
        r"\(2: 5 images.*; 3: 7 images of 8×6, axial, B70f\); name one",
    ) as error:
        read_series(tmp_path)
    assert "Secret" not in str(error.value)
    assert first.uid not in str(error.value)
    for name in ("3", str(second.uid)):
        assert read_series(tmp_path, series=name).volume.array.shape[0] == 7
    with pytest.raises(InputError, match="no CT series 9; it holds 2: 5 images"):
        read_series(tmp_path, series="9")
    Series(number=3).write(tmp_path / "more")
    with pytest.raises(InputError, match="2 CT series have the number 3"):
        read_series(tmp_path, series="3")


@pytest.mark.parametrize(
    "syntax", ["JPEG2000Lossless", "JPEGLSLossless", "RLELossless", "JPEGLosslessProcess14_1"]
)
@pytest.mark.parametrize("signed", [False, True])
def test_compressed_series(tmp_path, syntax, signed):
    rng = np.random.default_rng(0)
    hu = rng.integers(-1024, 3000, (3, 16, 16))
    series = Series(stored=hu + (0 if signed else 1024))
    for header in series.slices:
        header.PixelRepresentation, header.RescaleIntercept = int(signed), 0 if signed else -1024
    folder = compress(series.write(tmp_path / "s"), syntax)
    assert np.array_equal(read_series(folder).volume.array, hu)


def test_a_compression_without_decoder_is_named(tmp_path, monkeypatch):
    folder = Series().write(tmp_path / "s")
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
        header.PixelData = pydicom.encaps.encapsulate([b"\0\0"])
        header["PixelData"].VR, header["PixelData"].is_undefined_length = "OB", True
        header.save_as(path)
    decoder = type("None", (), {"is_available": False})
    monkeypatch.setattr(pydicom.pixels, "get_decoder", lambda syntax: decoder)
    with pytest.raises(
        MissingExtraError, match=r"no decoder for JPEG Lossless.*nnstudent\[dicom\]"
    ):
        read_series(folder)


def test_enhanced_ct(tmp_path):
    """One file of many frames: place, slope and intercept of each from its functional groups."""
    plain = Series()
    header = plain.slice(0)
    header.SOPClassUID, header.NumberOfFrames = "1.2.840.10008.5.1.4.1.1.2.1", SLICES
    header.PixelData = plain.stored[::-1].astype("<u2").tobytes()
    orientation, measures, frames = pydicom.Dataset(), pydicom.Dataset(), []
    orientation.ImageOrientationPatient, measures.PixelSpacing = (
        header.ImageOrientationPatient,
        header.PixelSpacing,
    )
    shared = pydicom.Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    for k in reversed(range(SLICES)):
        position, values, frame = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = plain.slices[k].ImagePositionPatient
        values.RescaleSlope, values.RescaleIntercept = 1, -1024 + 1000 * (k == 2)
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [values]
        frames.append(frame)
    folder = tmp_path / "enhanced"
    folder.mkdir()
    header.SharedFunctionalGroupsSequence, header.PerFrameFunctionalGroupsSequence = (
        [shared],
        frames,
    )
    for tag in (
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(header, tag)
    save(header, folder / "IM0")
    read = read_series(folder)
    expected = plain.stored - 1024
    expected[2] += 1000
    assert np.array_equal(read.volume.array, expected)
    assert read.volume.grid.matches(read_series(plain.write(tmp_path / "plain")).volume.grid)


def test_nothing_is_printed_of_the_patient(tmp_path, capfd, caplog):
    """Malformed values make the library quote them."""
    series = Series()
    with warnings.catch_warnings(action="ignore"):
        for header in series.slices:
            header.add_new("PatientName", "PN", PATIENT + "=" * 5)
            header.add_new("PatientBirthDate", "DA", "Secretdate")
        folder = series.write(tmp_path / "s")
    capfd.readouterr()
    caplog.clear()
    read_series(folder)
    assert capfd.readouterr() == ("", "")
    assert "Secret" not in caplog.text


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
    image = read_series(real_data / "ts_dicom20" / "series").volume
    labels = read_labels(real_data / "ts_dicom20" / "label.nii.gz").reoriented(image.grid.axcodes)
    assert labels.grid.matches(image.grid)
    assert 60 < np.median(image.array[labels.array == 1]) < 140  # enhanced liver, HU
    assert 100 < np.median(image.array[labels.array == 5]) < 250  # enhanced aorta
    assert image.array.min() == -1024
