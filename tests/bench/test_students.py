"""The benchmark of students at the tiniest scale: rows, resuming, and the frontier."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import bench.students as bench
from nnstudent.cohort.cohort import Cohort, write_cohort
from nnstudent.pipeline.preset import Preset
from nnstudent.training.recipe import Network
from tests.training.conftest import ALL, TABLE, tiny_recipe, write_case

NETWORK = Network((8, 16), ((1, 1, 1), (2, 2, 2)))
TINY = tuple(
    bench.Candidate(kind, replace(NETWORK, kind=kind), (6.0, 6.0, 6.0), (16, 24, 24))
    for kind in ("plain", "strided_stem")
)


@pytest.mark.slow
def test_rows_are_made_once_with_as_many_steps_as_the_time_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "CANDIDATES", TINY)
    cases = tuple(
        write_case(tmp_path / "cohort", f"c{seed}", seed, ALL, role="test" if seed > 2 else "train")
        for seed in range(4)
    )
    write_cohort(tmp_path / "cohort", Cohort(TABLE, cases))
    recipe = tiny_recipe(held_out=0.0, augment=())
    work: list[str] = []
    run = bench.Bench(
        tmp_path,
        Preset("tiny", recipe, recipe),
        minutes=0.02,
        threads=1,
        progress=lambda what, *_, **__: work.append(what),
    )
    rows = tmp_path / "rows.json"
    bench.run(run, rows, tmp_path / "students.png")
    found = json.loads(rows.read_text())
    assert [row["candidate"] for row in found] == ["plain", "strided_stem"]
    for row, candidate in zip(found, TINY, strict=True):
        assert row["steps"] == 20 * max(1, round(run.steps(candidate) / 20))
        assert row["organ_dsc"] is not None
        assert 0 < row["network_seconds"] <= row["seconds_per_case"]
    assert found[1]["gflop"] <= found[0]["gflop"]
    assert (tmp_path / "students.png").stat().st_size > 5000
    work.clear()
    bench.run(run, rows, None)
    assert not work
    assert len(json.loads(rows.read_text())) == 2
    assert "| plain |" in bench.render(found)


def test_the_frontier_leaves_out_what_another_beats_in_both() -> None:
    rows = [
        {"seconds_per_case": s, "organ_dsc": d}
        for s, d in ((1.0, 0.5), (2.0, 0.4), (3.0, 0.8), (4.0, 0.8), (5.0, 0.9))
    ]
    assert [row["seconds_per_case"] for row in bench.frontier(rows)] == [1.0, 3.0, 5.0]


def test_what_is_shown_is_the_last_of_each_candidate_and_time_on_one_cohort() -> None:
    keys = ("candidate", "minutes", "cohort_hash", "organ_dsc")
    rows = [
        dict(zip(keys, values, strict=True))
        for values in (
            ("a", 15, "x", 0.1),
            ("a", 15, "y", 0.2),
            ("a", 15, "y", 0.3),
            ("a", 100, "y", 0.4),
            ("b", 15, "y", 0.5),
        )
    ]
    assert [row["organ_dsc"] for row in bench.newest(rows)] == [0.3, 0.4, 0.5]


def test_candidates_fit_their_networks() -> None:
    preset = bench.load_preset("laptop")
    names = [candidate.name for candidate in bench.CANDIDATES]
    assert len(set(names)) == len(names)
    for candidate in bench.CANDIDATES:
        assert candidate.recipe(preset).training == preset.student.training
        assert candidate.of is None or candidate.of in names
