"""Slices whose pixels cannot be had or contradict each other."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.dicom.series import read_series

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
from pydicom.uid import generate_uid  # noqa: E402

from tests.io.series import COLUMNS, ROWS, Series, save  # noqa: E402


def test_one_uid_for_two_places_is_refused(tmp_path):
    series = Series()
    series.slices[3].SOPInstanceUID = series.slices[1].SOPInstanceUID
    with pytest.raises(InputError, match="lie at different places and have one SOPInstanceUID"):
        read_series(series.write(tmp_path / "s"))


def test_one_uid_for_two_pictures_is_refused(tmp_path):
    series = Series()
    folder = series.write(tmp_path / "s")
    again = series.slice(1)
    again.SOPInstanceUID, again.PixelData = (
        series.slices[1].SOPInstanceUID,
        bytes(2 * ROWS * COLUMNS),
    )
    save(again, folder / "again.dcm")
    with pytest.raises(InputError, match="two different pictures at one place"):
        read_series(folder)


def test_pixels_that_cannot_have_been_packed_are_refused(tmp_path):
    series = Series()
    folder = series.write(tmp_path / "s")
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
        header.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
        header["PixelData"].VR, header["PixelData"].is_undefined_length = "OB", True
        header.Rows = header.Columns = 65535
        header.save_as(path)
    with pytest.raises(
        InputError, match="Rows is 65535, Columns 65535; expected a CT image of at most"
    ):
        read_series(folder)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.Rows = header.Columns = 8192
        header.save_as(path)
    with pytest.raises(InputError, match="the pixels cannot be decoded"):
        read_series(folder)


def test_unknown_transfer_syntax_and_character_set(tmp_path):
    series = Series()
    with warnings.catch_warnings(action="ignore"):
        for header in series.slices:
            header.SpecificCharacterSet = "ISO_IR 999"
            header.ConvolutionKernel = "B30f"
        folder = series.write(tmp_path / "s")
    assert np.array_equal(read_series(folder).volume.array + 1024, series.stored)
    path = next(folder.glob("*_2.dcm"))
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = generate_uid()
    header.save_as(path, implicit_vr=False, little_endian=True)
    with pytest.raises(InputError, match=f"{path.name}: the pixels cannot be decoded"):
        read_series(folder)
