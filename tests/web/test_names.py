"""Names of uploads, as they are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.io.archive import is_clutter
from nnstudent.web.names import (
    IMAGES,
    common_folder,
    disk_suffix,
    display_name,
    image_name,
    series_name,
)


@given(st.text(max_size=300))
def test_a_name_to_show_is_short_plain_text(name):
    shown = display_name(name)
    assert 1 <= len(shown) <= 80
    assert shown == " ".join(shown.split())
    assert not set(shown) & set("/\\\0\n\r")
    assert shown[0] not in "=+-@."
    assert disk_suffix(name) in (*IMAGES, ".zip", ".dcm")


def test_names():
    assert display_name("a/b/CT 1.nii.gz") == "CT 1"
    assert display_name("a/b/CT 1.nrrd") == display_name("CT 1.MHA") == "CT 1"
    assert display_name("folder/") == "folder"
    assert display_name("=cmd()") == "cmd()"
    assert display_name("\u202eevil\x00\r\nname.dcm") == "evil name"
    assert is_clutter("__MACOSX/a/b.dcm")
    assert not is_clutter("a/b.dcm")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("ct.nii.gz", "ct"),
        ("patient 7/ct.nii.gz", "patient 7"),
        ("cohort/p01/images/0001.nii.gz", "p01"),
        ("p01/liver case.nii.gz", "liver case"),
        ("p01\\CT_2.nii", "p01"),
        ("/series/ct.nii", "ct"),
        ("", "scan"),
    ],
)
def test_an_image_is_called_by_what_tells_it_from_others(path, name):
    assert image_name(path) == name


@pytest.mark.parametrize(
    ("folder", "description", "name"),
    [
        ("Smith 04/study/series 2", "portal venous", "Smith 04"),
        ("DICOM/ST0/SE1", "Abdomen 5.0", "Abdomen 5.0"),
        ("1.2.840.113619.2/series", "", "1.2.840.113619.2"),
        ("series", "", "series"),
        ("", "=cmd()", "cmd()"),
        ("", "", "scan"),
    ],
)
def test_a_series_is_called_by_its_folder_or_its_description(folder, description, name):
    assert series_name(folder, description=description) == name


def test_the_folder_that_all_files_lie_in():
    assert common_folder(["a/b/1.dcm", "a/b/2.dcm"]) == "a/b"
    assert common_folder(["a/b/1.dcm", "a/c/2.dcm"]) == "a"
    assert common_folder(["1.dcm", "a/2.dcm"]) == ""
