from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.cohort.sources import read_source
from nnstudent.errors import InputError
from tests.cohort.conftest import Files


def rows(source):
    return {
        entry.id: (entry.image.name, entry.label and entry.label.name, entry.role)
        for entry in source.entries
    }


def test_an_output_inside_the_source_is_not_part_of_it(files: Files):
    files.ct("imagesTr/a_0000.nii.gz")
    files.ct("cohort/images/b.nii.gz")
    files.text("cohort/cohort.json", "{}")
    assert list(rows(read_source(files.folder))) == ["a"]


def test_the_error_for_a_plain_folder_says_how_to_list_its_scans(files: Files):
    first, _ = files.ct("a.nii.gz"), files.ct("b.nii.gz")
    for source, said in (
        (files.folder, "2 images in it, but in no known layout"),
        (first, "is an image"),
    ):
        with pytest.raises(
            InputError,
            match=f"{said}.*list the scans in a .csv with the header id,image,label,annotated,role",
        ):
            read_source(source)
    header = "id,image,label,annotated,role\n"
    assert [
        entry.id
        for entry in read_source(
            files.text("c.csv", f"{header},a.nii.gz,,,\n,b.nii.gz,,,\n")
        ).entries
    ] == ["a", "b"]


def test_folders_without_a_layout_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no image in it, and no known layout"):
        read_source(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        read_source(tmp_path / "none")
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(InputError, match="is not a source of cases; expected a list"):
        read_source(tmp_path / "a.xlsx")


# nnU-Net


# Ids
