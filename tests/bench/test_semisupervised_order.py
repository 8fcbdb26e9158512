"""Which rows the benchmark makes, and when it stops."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

import bench.semisupervised as bench
import bench.semisupervised_choosing as choosing
from bench.common import read_rows
from bench.semisupervised_arms import Arm
from nnstudent.errors import InputError
from nnstudent.pipeline.preset import Preset
from tests.training.conftest import tiny_recipe


@pytest.fixture
def preset() -> Preset:
    recipe = tiny_recipe()
    return Preset("tiny", teachers=recipe, student=recipe, folds=2)


def test_one_arm_of_an_experiment(
    preset: Preset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.Bench, "row", lambda self, arm, seed: {"arm": arm.name, "seed": seed})
    monkeypatch.setattr(bench.Bench, "scored", lambda self, arm, seed: self.row(arm, seed))
    run, rows = bench.Bench(tmp_path / "work", preset), tmp_path / "rows.json"
    bench.run(run, rows, only="table6", seeds=[0, 1], arms=["large"])
    assert read_rows(rows) == [{"arm": "large", "seed": 0}, {"arm": "large", "seed": 1}]
    bench.run(run, rows, only="table6", seeds=[0], arms=["large", "small"])
    assert [row["arm"] for row in read_rows(rows)] == ["large", "large", "small"]


@pytest.mark.parametrize(("labels", "alone"), [(0.7, 0.6), (0.6, 0.6)])
def test_labels_that_are_no_better_are_not_learned_from(
    preset: Preset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    labels: float,
    alone: float,
) -> None:
    def scored(run: bench.Bench, arm: Arm, seed: int) -> dict[str, object]:
        dsc = labels if arm.learns == "all" else alone
        return {**run.row(arm, seed), "organ_dsc": dsc, "cases": {}}

    monkeypatch.setattr(
        bench.Bench,
        "row",
        lambda self, arm, seed: {"arm": arm.name, "seed": seed, "arm_hash": arm.name},
    )
    monkeypatch.setattr(choosing, "chosen_row", scored)
    monkeypatch.setattr(bench.Bench, "scored", lambda self, arm, seed: self.row(arm, seed))
    run, rows = bench.Bench(tmp_path / "work", preset), tmp_path / "rows.json"
    check = partial(bench.check_labels, run, tmp_path / "choosing.json")
    stops = (
        nullcontext() if labels > alone else pytest.raises(InputError, match="mend the teachers")
    )
    with stops:
        bench.run(
            run, rows, only="table6", seeds=[3], arms=["small", "small+unlabeled"], check=check
        )
    made = [row["arm"] for row in read_rows(rows)]
    assert made == (["small", "small+unlabeled"] if labels > alone else ["small"])
    assert len(read_rows(tmp_path / "choosing.json")) == 2
