"""Damaged files refuse only the series that they may belong to."""

from __future__ import annotations

import pytest

from nnstudent.errors import InputError
from nnstudent.io.dicom.series import read_series

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")

from tests.io.series import Series  # noqa: E402


def test_damage_refuses_only_the_series_it_may_belong_to(tmp_path):
    wanted, other = Series(number=2), Series(number=3, slices=7)
    wanted.write(tmp_path / "a")
    other.write(tmp_path / "b")
    for path in (tmp_path / "b").glob("*_2.dcm"):
        path.write_bytes(path.read_bytes()[:-10])  # it says its series
    (tmp_path / "b" / "lost.dcm").write_bytes(b"")  # it does not
    read = read_series(tmp_path, series="2")
    (told,) = read.warnings
    assert told.startswith("passed over damaged files of other series: ")
    assert "lost.dcm" in told
    with pytest.raises(InputError, match=r"within its pixels.*1 more damaged"):
        read_series(tmp_path, series="3")
    (tmp_path / "a" / "lost.dcm").write_bytes(b"")
    with pytest.raises(InputError, match=r"a/lost\.dcm: damaged \(empty\)"):
        read_series(tmp_path, series="2")


def test_a_damaged_file_in_a_folder_of_its_own_may_belong_to_any(tmp_path):
    Series().write(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        read_series(tmp_path)


def test_a_slice_that_calls_itself_something_else_is_missed(tmp_path):
    series = Series()
    series.slices[2].Modality = "CU"
    with pytest.raises(InputError, match="Modality is CU, in the rest of its series CT"):
        read_series(series.write(tmp_path / "s"))
