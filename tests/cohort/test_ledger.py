"""The ledger as a file."""

from __future__ import annotations

import json

import pytest

from nnstudent.cohort.ledger import LedgerRow, pseudo_classes, read_ledger, write_ledger
from nnstudent.errors import InputError

ROWS = (
    LedgerRow("a", "liver", "truth", why="annotated"),
    LedgerRow("a", "kidney", "pseudo", "m1", 2, 0.75, "folds agree", 0.1),
    LedgerRow("b", "kidney", "pseudo", "m1", 1),
    LedgerRow("b", "Niere, früh", "dropped", why="folds disagree"),
)


def test_rows_are_read_as_they_were_written(tmp_path) -> None:
    path = tmp_path / "ledger.jsonl"
    write_ledger(path, ROWS)
    assert read_ledger(path) == ROWS
    first = json.loads(path.read_text("utf-8").splitlines()[0])
    assert (first["class"], first["origin"]) == ("liver", "truth")


def test_classes_with_pseudo_labels_by_case() -> None:
    assert pseudo_classes(ROWS) == {"a": ("kidney",), "b": ("kidney",)}


@pytest.mark.parametrize(
    "line", ["{}", "[]", '{"case": "a", "class": "liver", "origin": "guessed"}', '{"case": "a",']
)
def test_a_line_that_is_no_row_is_named(tmp_path, line) -> None:
    path = tmp_path / "ledger.jsonl"
    write_ledger(path, ROWS[:2])
    path.write_text(path.read_text("utf-8") + line + "\n", "utf-8")
    with pytest.raises(InputError, match=r"ledger\.jsonl.*3"):
        read_ledger(path)
