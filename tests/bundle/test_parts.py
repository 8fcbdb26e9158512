"""Models of several parts: their list, and the table of their labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.parts import open_folders
from nnstudent.cli.main import main
from nnstudent.errors import InputError
from nnstudent.labels.class_maps import find_map
from nnstudent.pseudo.teacher import open_teachers
from nnstudent.taxonomy import flare23
from tests.inference.folders import ISOTROPIC, make_folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    make_folder(folder / "organs", ISOTROPIC, classes=("spleen", "kidney_right"))
    make_folder(folder / "vessels", ISOTROPIC, classes=("aorta", "heart"), seed=1)
    return folder


def listed(folder: Path, table: Any) -> Path:
    (folder / "parts.json").write_text(json.dumps(table))
    return folder


def test_labels_are_numbered_in_order_or_as_given(two):
    one, other = open_folders(listed(two, {"parts": ["vessels", "organs"]}))
    assert one.taxonomy == other.taxonomy
    rows = {row.name: row.id for row in one.taxonomy}
    assert rows == {"aorta": 1, "heart": 2, "spleen": 3, "right_kidney": 4}
    given = {"kidney_right": 2, "spleen": 1, "aorta": 52, "heart": 51}
    listed(two, {"parts": ["organs", "vessels"], "labels": given})
    rows = {row.name: row.id for row in open_model(two).taxonomy}
    assert rows == {"spleen": 1, "right_kidney": 2, "heart": 51, "aorta": 52}


def test_a_teacher_of_parts_takes_the_map_of_its_makers_names(two):
    listed(two, {"parts": ["organs", "vessels"]})
    table = find_map("totalsegmentator", taxonomy=flare23())
    (teacher,) = open_teachers([two], flare23(), mapping=table)
    assert teacher.channel_ids == ((0, 3, 2), (0, 5, 0))
    assert teacher.classes == ("right_kidney", "spleen", "aorta")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ([1], "holds a list"),
        ({}, "model folders beside it .organs, vessels."),
        ({"parts": []}, "expected .*the model folders beside it"),
        ({"parts": ["organ"]}, "'organ' is no model folder beside it; did you mean organs"),
        ({"parts": ["../organs"]}, "is no model folder beside it"),
        ({"parts": [["organs"]]}, "is no model folder beside it"),
        ({"parts": ["organs", "organs"]}, "is listed twice"),
        ({"parts": ["organs"], "labels": [1]}, "no table of NAME: VALUE"),
        ({"parts": ["organs"], "labels": {"spleen": 1}}, "right_kidney has none"),
        ({"parts": ["organs"], "labels": {"spleen": 1, "kidney_right": 1}}, "occurs twice"),
        ({"parts": ["organs"], "labels": {"spleen": 1, "kidney_right": 255}}, "out of bounds"),
        ({"parts": ["organs"], "labels": {"spleen": 1, "kidney_right": "x"}}, "label value 'x'"),
        (
            {"parts": ["organs"], "labels": {"splen": 1, "kidney_right": 2}},
            "'splen' is no class of its parts; did you mean spleen",
        ),
        (
            {"parts": ["organs"], "labels": {"kidney_right": 1, "right kidney": 2}},
            "'right kidney' is there twice",
        ),
    ],
)
def test_a_bad_list_is_one_line(two, tmp_path, table, says, capsys):
    listed(two, table)
    with pytest.raises(InputError, match=says) as caught:
        open_model(two)
    assert "\n" not in str(caught.value)
    assert main(["export", str(two), "-o", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_several_models_without_a_list_are_named(two):
    (two / "parts.json").unlink(missing_ok=True)
    with pytest.raises(InputError, match="organs and vessels in it are, name one, or name all in"):
        open_model(two)
