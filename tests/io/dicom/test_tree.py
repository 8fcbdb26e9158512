"""Folder trees as hospitals export them."""

from __future__ import annotations

import pytest

pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
from nnstudent.io.dicom.tree import study_folders
from tests.io.series import Series


def of_one_study(first: Series, **changed) -> Series:
    other = Series(**changed)
    for header in other.slices:
        header.StudyInstanceUID = first.study
    return other


def test_studies_are_told_apart_by_what_their_files_say(tmp_path):
    first = Series()
    first.write(tmp_path / "P1" / "2020" / "S1")
    of_one_study(first, number=4).write(tmp_path / "P1" / "2020" / "S2")
    Series().write(tmp_path / "P1" / "2021" / "S1")
    Series().write(tmp_path / "P2" / "IM")
    (tmp_path / "P3").mkdir()
    (tmp_path / "P3" / "notes.txt").write_text("no DICOM here")
    found = [place.relative_to(tmp_path).as_posix() for place in study_folders(tmp_path)]
    assert found == ["P1/2020", "P1/2021", "P2"]
    assert study_folders(tmp_path / "P1" / "2020") == (tmp_path / "P1" / "2020",)
    assert study_folders(tmp_path / "P3") == ()


def test_studies_whose_files_share_a_folder_count_as_one(tmp_path):
    first = Series()
    first.write(tmp_path / "P" / "a")
    of_one_study(first, number=4).write(tmp_path / "P" / "b" / "deep")
    Series().write(tmp_path / "P" / "b")
    assert study_folders(tmp_path) == (tmp_path / "P",)
