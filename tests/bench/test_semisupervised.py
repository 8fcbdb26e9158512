"""The bench's logic at the tiniest scale: what is made once, what a cut-off loses, what the rows and the page say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import bench.semisupervised as bench
import bench.semisupervised_table as table
from bench.common import ROOT, OutOfTime, read_rows, tumor_or_none, within
from nnstudent.cohort.cohort import Cohort, write_cohort
from nnstudent.errors import InputError
from nnstudent.pipeline.preset import Preset, load_preset
from tests.training.conftest import ALL, ORGANS, TABLE, tiny_recipe, write_case

# id, annotated, role: complete, tumor and one organ, no labels, and two to test on.
CASES = (
    ("full_a", ORGANS, "train"),
    ("full_b", ORGANS, "train"),
    ("partial", frozenset({"left_ball", "spot"}), "train"),
    ("unlabeled", None, "train"),
    ("test_a", ALL, "test"),
    ("test_b", ALL, "test"),
)
KEYS = {
    "experiment", "arm", "seed", "steps", "cohort_hash", "commit", "organ_dsc", "organ_nsd", "tumor_dsc", "tumor_nsd", "seconds_per_case",
}  # fmt: skip


@pytest.fixture(scope="module")
def preset() -> Preset:
    small = tiny_recipe(held_out=0.0, augment=())
    small = replace(small, data=replace(small.data, batch=1))
    large = replace(small, network=replace(small.network, features=(8, 24)))
    return Preset("tiny", teachers=large, student=small, folds=2)


@pytest.fixture(scope="module")
def made(
    preset: Preset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bench.Bench, Path, list[str]]:
    """Table 6 of one seed, cut off four times on the way."""
    folder = tmp_path_factory.mktemp("bench")
    cases = tuple(
        write_case(folder / "work" / "cohort", id, seed, known, role=role)
        for seed, (id, known, role) in enumerate(CASES)
    )
    write_cohort(folder / "work" / "cohort", Cohort(TABLE, cases))
    rows, seen, calls = folder / "rows.json", [], 0

    def cut(after: int):
        left = [after]

        def listen(what: str, done: int, total: int) -> None:
            seen.append(what)
            left[0] -= 1
            if not left[0]:
                raise OutOfTime

        return listen

    run = bench.Bench(folder / "work", preset, threads=1)
    for after in (3, 12, 25, 25, 0):
        try:
            bench.run(replace(run, progress=cut(after)), rows, only="table6", seeds=[0])
        except OutOfTime:
            calls += 1
    assert calls == 4
    return run, rows, seen


@pytest.mark.slow
def test_every_arm_is_a_row(made: tuple[bench.Bench, Path, list[str]]) -> None:
    run, rows, _ = made
    found = json.loads(rows.read_text())
    assert [row["arm"] for row in found] == ["large", "large+unlabeled", "small", "small+unlabeled"]
    for row in found:
        assert set(row) >= KEYS
        assert (row["experiment"], row["seed"], row["steps"], row["cohort_hash"]) == (
            "table6",
            0,
            4,
            run.cohort_hash,
        )
        assert all(
            0 <= row[key] <= 1 for key in ("organ_dsc", "organ_nsd", "tumor_dsc", "tumor_nsd")
        )
        assert len(row["cases"]) == 2
        assert len(row["loss"]) == 2
    assert len(rows.read_text().splitlines()) == len(found) + 2


@pytest.mark.slow
def test_what_learns_from_what(made: tuple[bench.Bench, Path, list[str]]) -> None:
    at = made[0].work / "seed0"

    def learned(model: Path) -> set[str]:
        splits = json.loads((model / "splits_final.json").read_text())
        return {id for split in splits for part in split.values() for id in part}

    assert learned(at / "teachers" / "small-background-1" / "organs") == {"full_a", "full_b"}
    assert learned(at / "teachers" / "large-background-2" / "organs") == {"full_a", "full_b"}
    assert learned(at / "teachers" / "large-background-1" / "tumor") == {"partial"}
    fused = at / "fused" / "round1-dice-keep1-two"
    considered = {
        json.loads(line)["case"] for line in (fused / "ledger.jsonl").read_text().splitlines()
    }
    assert considered == {"full_a", "full_b", "partial", "unlabeled"}
    kept = {
        case["id"] for case in json.loads((fused / "cohort.json").read_text())["cases"]
    }  # teachers of four steps may find nothing
    for network in ("large", "small"):
        assert learned(at / "students" / f"{network}-{fused.name}") == kept
    plans = json.loads((at / "students" / "large-round1-dice-keep1-two" / "plans.json").read_text())
    assert plans["nnstudent"]["recipe"]["network"]["features"] == [8, 24]


@pytest.mark.slow
def test_an_arm_of_another_experiment_that_is_the_same_model_is_not_trained_again(
    made: tuple[bench.Bench, Path, list[str]], tmp_path: Path
) -> None:
    run, _, _ = made
    told: list[str] = []
    bench.run(
        replace(run, progress=lambda what, *_: told.append(what)),
        tmp_path / "rows.json",
        only="table6",
        seeds=[0],
    )
    assert not {
        what for what in told if what.startswith(("organs", "tumor", "student", "phantoms"))
    }
    same = [arm for arm in bench.ARMS if arm.key == "small-all-round1-dice-keep1-two"]
    assert {arm.experiment for arm in same} == {
        "table6",
        "models",
        "decision",
        "selection",
        "rounds",
        "cutmix",
        "distilling",
        "cascade",
        "uncertain",
    }


@pytest.mark.slow
def test_a_row_of_the_same_model_serves_another_experiment_without_its_folder(
    made: tuple[bench.Bench, Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, rows, _ = made
    monkeypatch.setattr(
        bench,
        "ARMS",
        tuple(
            arm for arm in bench.ARMS if (arm.experiment, arm.name) == ("teacher", "complete only")
        ),
    )
    monkeypatch.setattr(bench.Bench, "scored", lambda *_: pytest.fail("made again"))
    copy = tmp_path / "rows.json"
    copy.write_text(rows.read_text())
    bench.run(run, copy, only="teacher", seeds=[0])
    first, *_, last = json.loads(copy.read_text())
    assert (first["experiment"], first["arm"]) == ("table6", "large")
    assert last == first | {"experiment": "teacher", "arm": "complete only"}


@pytest.mark.slow
def test_ablations(
    made: tuple[bench.Bench, Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, _ = made
    arms = {arm.name: arm for arm in bench.ARMS}
    marginal, tumor = run.models(arms["marginal loss"], 0)
    assert set(json.loads((marginal / "splits_final.json").read_text())[0]["train"]) == {
        "full_a",
        "full_b",
        "partial",
    }
    assert tumor == run.work / "seed0" / "teachers" / "large-background-1" / "tumor"
    two, _ = run.models(arms["student and tumor model"], 0)
    assert set(json.loads((two / "dataset.json").read_text())["labels"]) == {"background", *ORGANS}
    (one,) = run.models(arms["one student"], 0)
    assert set(json.loads((one / "dataset.json").read_text())["labels"]) == {"background", *ALL}
    assert json.loads(
        (run.work / "seed0" / "fused" / "round1-dice-keep1-two" / "cohort.json").read_text()
    )["cases"]
    before = {path: path.read_bytes() for path in (run.work / "seed0" / "fused").rglob("*.nii.gz")}
    distilled, *_ = run.models(arms["half of the loss"], 0)
    assert (
        json.loads((distilled / "plans.json").read_text())["nnstudent"]["recipe"]["training"][
            "distill"
        ]
        == 0.5
    )
    ignored, *_ = run.models(arms["ignored"], 0)
    assert ignored.name == "small-round1-dice-keep1-two-ignore0.6"
    fused = (
        run.work
        / "seed0"
        / "fused"
        / "round1-dice-keep1-two-ignore0.6"
        / "nnUNet_raw"
        / "Dataset001_fused"
        / "dataset.json"
    )
    assert json.loads(fused.read_text())["labels"]["ignore"] == 3
    assert all(
        path.read_bytes() == content for path, content in before.items()
    )  # no other arm is trained again for them
    monkeypatch.setattr(bench, "SMALL", ("left_ball",))
    cascade = arms["a finer one for small organs"]
    assert set(run.scored(cascade, 0)) >= KEYS
    first, *others = json.loads(
        (run.work / "seed0" / "bundles" / cascade.key / "bundle.json").read_text()
    )["networks"]
    assert len(others) == 2  # and the tumor model
    (second,) = (
        other for other in others if other["spec"]["classes"] == ["background", "left_ball"]
    )
    assert second["spec"]["spacing_mm"] == [mm / 2 for mm in first["spec"]["spacing_mm"]]
    for name, key in (("worst fifth dropped", "keep0.8"), ("half of the windows", "copy_paste0.5")):
        model, *_ = run.models(arms[name], 0)
        assert key in model.name
    row = run.scored(arms["2"], 0)
    assert set(row) >= KEYS
    told = [
        json.loads(path.read_text())
        for path in (run.work / "seed0" / "pseudo" / "round2-dice").glob("*.json")
    ]
    assert {item["case"] for item in told} >= {"unlabeled"}
    assert all(item["round"] == 2 for item in told)


def test_the_cohort_is_as_the_page_says(preset: Preset, tmp_path: Path) -> None:
    cohort = bench.Bench(tmp_path, preset, counts={"full": 1, "test": 1}).cohort
    assert [case.role for case in cohort] == ["train", "test"]
    (full,) = cohort.annotated_with(cohort.taxonomy.organs)
    assert full.id == "phantom_001"


def test_arms_that_learn_for_different_times_are_refused(preset: Preset, tmp_path: Path) -> None:
    longer = replace(preset.student, training=replace(preset.student.training, epochs=9))
    with pytest.raises(InputError, match="every arm is to have as many"):
        bench.Bench(tmp_path, replace(preset, student=longer))


def test_the_real_recipes_differ_in_network_and_grid_only() -> None:
    real = load_preset(ROOT / "bench" / "semisupervised.toml")
    assert (
        replace(real.teachers.training, partial=real.student.training.partial)
        == real.student.training
    )  # teachers see partial labels
    assert real.teachers.network != real.student.network
    assert sum(bench.COUNTS[kind] for kind in ("tumor", "partial")) == 16
    assert (bench.COUNTS["full"], bench.COUNTS["unlabeled"], bench.COUNTS["test"]) == (6, 42, 30)


def test_every_arm_is_shown_and_named_after_what_differs() -> None:
    assert set(table.TITLES) == set(table.PAIRS) == set(bench.EXPERIMENTS)
    names = {(arm.experiment, arm.name) for arm in bench.ARMS}
    assert all(
        (experiment, name) in names
        for experiment, pairs in table.PAIRS.items()
        for pair in pairs
        for name in pair
    )
    keys = {(arm.experiment, arm.name): arm.key for arm in bench.ARMS}
    assert keys["table6", "small+unlabeled"] == "small-all-round1-dice-keep1-two"
    assert keys["cutmix", "half of the windows"] == "small-all-round1-dice-keep1-two-cutmix0.5"
    assert keys["distilling", "half of the loss"] == "small-all-round1-dice-keep1-two-distill0.5"
    assert keys["models", "one student"] == "small-all-round1-dice-keep1-one"
    assert (
        keys["copy-paste", "half of the windows"] == "small-all-round1-dice-keep1-one-copy_paste0.5"
    )
    assert keys["uncertain", "ignored"] == "small-all-round1-dice-keep1-two-ignore0.6"


def test_an_arm_that_comes_to_mean_something_else_is_made_again(
    preset: Preset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, arm = bench.Bench(tmp_path, preset), next(arm for arm in bench.ARMS if arm.cascade)
    run.__dict__["cohort_hash"] = "c"
    before = run.row(arm, 0)["arm_hash"]
    assert run.row(replace(arm, name="another"), 0)["arm_hash"] == before
    assert run.row(replace(arm, keep=0.5), 0)["arm_hash"] != before
    monkeypatch.setattr(bench, "SMALL", ("liver",))
    assert run.row(arm, 0)["arm_hash"] != before
    monkeypatch.undo()
    monkeypatch.setattr(bench, "ALL", replace(bench.ALL, min_agreement=0.6))
    assert run.row(arm, 0)["arm_hash"] != before


def test_time_is_up() -> None:
    told: list[str] = []
    listen = within(0, lambda what, *_: told.append(what))
    with pytest.raises(OutOfTime):
        listen("work", 1, 2)
    assert told == ["work"]
    within(None, lambda *_: None)("work", 1, 2)


def row(arm: str, seed: int, scores: list[float], **more: object) -> dict[str, object]:
    cases = {
        f"case_{i}": {
            "organ_dsc": score,
            "organ_nsd": score,
            "tumor_dsc": None,
            "tumor_nsd": None,
            "tumor_false": None,
        }
        for i, score in enumerate(scores)
    }
    mean = sum(scores) / len(scores)
    return {
        "experiment": "table6", "arm": arm, "seed": seed, "steps": 4, "cohort_hash": "c", "recipe_hash": "r",
        "counts": {"unlabeled": 3, "full": 1, "partial": 2, "tumor": 2, "test": 4}, "commit": "", "machine": "m",
        "organ_dsc": mean, "organ_nsd": mean, "tumor_dsc": None, "tumor_nsd": None, "seconds_per_case": 0.5, "loss": [0.5, 0.49],
        "cases": cases, **more,
    }  # fmt: skip


def test_differences_are_paired_over_cases_and_seeds() -> None:
    # The seeds differ by far more than the arms; in each the first arm is better by 0.04 and 0.06 in every case.
    small = [row("small", 0, [0.1, 0.5, 0.9, 0.3]), row("small", 1, [0.5, 0.2, 0.1, 0.7])]
    more = [
        row("small+unlabeled", 0, [0.14, 0.54, 0.94, 0.34]),
        row("small+unlabeled", 1, [0.56, 0.26, 0.16, 0.76]),
    ]
    found, seeds = table.difference(
        more, [*small, row("small", 2, [0.0, 0.0, 0.0, 0.0])], "organ_dsc"
    )
    assert (found.n, seeds) == (4, 2)
    assert found.difference == pytest.approx(0.05)
    assert found.interval == pytest.approx((0.05, 0.05))
    assert found.effect == 1
    text = table.render([*small, *more, row("large", 0, [0.15, 0.6, 0.95, 0.3])])
    assert "small+unlabeled minus small: **+5.0** (+5.0 to +5.0" in text
    assert "small+unlabeled minus small: at least +3.1: **reached**" in text
    assert "small+unlabeled minus large: no less than -1.0: **reached**" in text
    assert "**missed**" in table.render([*small, *more, row("large", 0, [0.5, 0.6, 0.95, 0.3])])


def test_an_empty_answer_to_no_tumor_is_no_tumor_found() -> None:
    known = {"organ_dsc": 0.5, "organ_nsd": 0.5}
    there, empty, wrong = (
        {**known, "tumor_dsc": value, "tumor_nsd": value} for value in (0.25, 1.0, 0.0)
    )
    assert tumor_or_none(there, True) == {**there, "tumor_false": None}
    assert tumor_or_none(empty, False) == {
        **known,
        "tumor_dsc": None,
        "tumor_nsd": None,
        "tumor_false": 0.0,
    }
    assert tumor_or_none(wrong, False) == {
        **known,
        "tumor_dsc": None,
        "tumor_nsd": None,
        "tumor_false": 1.0,
    }


def test_rows_of_an_arm_that_has_come_to_mean_something_else_are_left_out() -> None:
    mark = {"experiment": "table6", "cohort_hash": "c", "recipe_hash": "r", "steps": 1}
    rows = [
        {**mark, "arm": "small+unlabeled", "seed": 0, "arm_hash": "old"},
        {**mark, "arm": "small+unlabeled", "seed": 1, "arm_hash": "old"},
        {**mark, "arm": "small", "seed": 1, "arm_hash": "other"},
        {**mark, "arm": "small+unlabeled", "seed": 0, "arm_hash": "new"},
    ]
    assert [(row["arm"], row["arm_hash"]) for row in table.newest(rows)] == [
        ("small", "other"),
        ("small+unlabeled", "new"),
    ]


def test_rows_of_another_cohort_or_recipe_are_not_mixed_in() -> None:
    rows = [
        row("small", 0, [0.1], cohort_hash="old"),
        row("small", 1, [0.2], recipe_hash="old"),
        row("small", 0, [0.3]),
        row("small", 0, [0.4]),
    ]
    assert table.newest(rows) == rows[3:]
    assert "| small | 40.0 | 40.0 | – | – | – | 0.50 | 0 |" in table.render(rows)


def test_the_page_is_written_at_its_marks(tmp_path: Path) -> None:
    page, picture = tmp_path / "results.md", tmp_path / "images" / "plot.png"
    page.write_text("# Results\n\nBefore.\n")
    table.write_results([row("small", 0, [0.1])], page, picture)
    page.write_text(page.read_text() + "\nAfter.\n")
    table.write_results([row("small", 0, [0.1]), row("small", 1, [0.3])], page, picture)
    text = page.read_text()
    assert (
        "Synthetic patients: 1 with all organs labeled, 4 with some classes, 3 without labels, 4 to test on."
        in text
    )
    assert text.startswith("# Results\n\nBefore.\n")
    assert text.endswith("\nAfter.\n")
    assert text.count("## What unlabeled") == 1
    assert "20.0 ± 14.1" in text
    assert "changed by -0.010 to -0.010" in text
    assert picture.stat().st_size > 1000


def test_the_page_says_what_the_rows_say() -> None:
    if not bench.ROWS.is_file():
        pytest.skip("no row yet: python -m bench.semisupervised --only table6")
    assert table.render(read_rows(bench.ROWS)) in (
        ROOT / "docs" / "results" / "semisupervised.md"
    ).read_text("utf-8")
