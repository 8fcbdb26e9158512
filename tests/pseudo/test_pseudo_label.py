"""The record of a pseudo-label as a file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nnstudent.errors import InputError
from nnstudent.io.record import write_record
from nnstudent.pseudo.pseudo_label import PseudoLabel, pseudo_label_paths, read_pseudo_label

FIRST = PseudoLabel(
    "a",
    "",
    ("liver", "kidney"),
    {"liver": "m1", "kidney": "m2"},
    1,
    {"liver": 0.87654},
    {"liver": 0.5, "kidney": 0.25},
    ("liver",),
    {"liver": 3, "kidney": 5},
    1.239,
    {"liver": 1500.0},
)


def written(folder, item: PseudoLabel) -> PseudoLabel:
    image, record = pseudo_label_paths(folder, item.case)
    image.touch()
    write_record(record, stage="label", made_from=["image", "model"], **item.to_dict())
    found = read_pseudo_label(folder, item.case)
    assert found is not None
    return found


def test_a_record_is_read_as_it_was_written_but_for_rounding(tmp_path) -> None:
    found = written(tmp_path, FIRST)
    assert found.made_from
    assert replace(found, made_from="") == replace(
        FIRST, confidence={"liver": 0.8765}, seconds=1.24
    )
    assert found.mean_change is None


def test_a_later_round_tells_its_changes(tmp_path) -> None:
    later = replace(
        FIRST, round=3, changes=(0.2, 0.1), class_change={"liver": 0.15}, compared_with="x"
    )
    found = written(tmp_path, later)
    assert (found.changes, found.class_change, found.compared_with) == (
        (0.2, 0.1),
        {"liver": 0.15},
        "x",
    )
    assert found.mean_change == pytest.approx(0.15)


def test_half_a_pseudo_label_is_none(tmp_path) -> None:
    image, record = pseudo_label_paths(tmp_path, "a")
    assert read_pseudo_label(tmp_path, "a") is None
    record.write_text("{}")
    assert read_pseudo_label(tmp_path, "a") is None
    image.touch()
    with pytest.raises(InputError, match=r"a\.json"):
        read_pseudo_label(tmp_path, "a")
