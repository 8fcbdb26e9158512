"""One scan, whatever holds it."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.nifti import read_image
from nnstudent.io.scan import is_series, read_scan

pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
from tests.io.series import Series, enhanced


def test_a_zipped_series_is_the_series(tmp_path):
    folder = Series().write(tmp_path / "study")
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for number, path in enumerate(sorted(folder.iterdir())):
            archive.write(path, f"DICOM/{'ä' * 90}/{number}")
    volume, series = read_scan(tmp_path / "s.zip")
    expected, _ = read_scan(folder)
    assert series is not None
    assert is_series(tmp_path / "s.zip")
    assert np.array_equal(volume.array, expected.array)
    assert volume.grid.matches(expected.grid)
    with pytest.raises(InputError, match="holds a DICOM series; expected one image file"):
        read_image(tmp_path / "s.zip")


def test_one_file_of_many_frames_has_the_geometry_of_its_series(tmp_path):
    series = Series()
    (tmp_path / "one").mkdir()
    path = enhanced(series, tmp_path / "one" / "ct.dcm")
    volume, found = read_scan(path)
    expected, _ = read_scan(series.write(tmp_path / "many"))
    assert found is not None
    assert np.array_equal(volume.array, expected.array)
    assert volume.grid.matches(expected.grid)


def test_frames_that_make_no_stack_are_refused_as_slices_are(tmp_path):
    series = Series(slices=6)
    places = [0, 1, 2, 9, 10, 11]
    with pytest.raises(InputError, match=r"slices are missing between ct\.dcm frame 4 and"):
        read_scan(enhanced(series, tmp_path / "ct.dcm", heights=[place * 8.0 for place in places]))


def test_one_slice_of_a_series_is_no_scan(tmp_path):
    folder = Series().write(tmp_path / "study")
    with pytest.raises(InputError, match="is one file of a DICOM series; give the folder"):
        read_scan(sorted(folder.iterdir())[0])
