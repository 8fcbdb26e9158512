from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnstudent.errors import InputError
from nnstudent.evaluation.declared import common_table, declared_table
from nnstudent.taxonomy import flare23


def declare(folder: Path, **labels: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0} | labels}))
    return folder


def test_a_folder_that_declares_nothing_is_flares(tmp_path: Path) -> None:
    assert declared_table(tmp_path) is None
    assert common_table(tmp_path, tmp_path) == flare23()


def test_what_nnunet_wrote_beside_predictions_or_above_the_labels_counts(tmp_path: Path) -> None:
    predictions = declare(tmp_path / "predictions", spleen=1, liver=2)
    declare(tmp_path / "raw", spleen=1, liver=2)
    for table in (
        common_table(predictions, tmp_path),
        common_table(tmp_path, tmp_path / "raw" / "labelsTr"),
    ):
        assert {item.name: item.id for item in table} == {"spleen": 1, "liver": 2}
    assert declared_table(tmp_path / "raw" / "else") is None


def test_tables_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    predictions, truth = (
        declare(tmp_path / "a", spleen=1, liver=2),
        declare(tmp_path / "b", liver=1, spleen=2),
    )
    with pytest.raises(InputError, match=r"is \d in .* --taxonomy"):
        common_table(predictions, truth)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"labels": 3}', '{"labels": {"liver": "x"}}', '{"labels": {"liver": []}}'],
)
def test_a_malformed_declaration_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=r"dataset\.json"):
        declared_table(tmp_path)
