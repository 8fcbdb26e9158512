"""The benchmark at the tiniest scale: what is made once, and what an interruption loses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import bench.semisupervised as bench
import bench.semisupervised_lesions as lesions
import bench.semisupervised_pieces as pieces
import bench.semisupervised_setting as setting
import bench.semisupervised_table as table
from bench.common import ROOT, OutOfTime, cases_file, read_rows
from bench.semisupervised_arms import ARMS, COUNTS
from nnstudent.cohort.cohort import Cohort, read_cohort, write_cohort
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_labels
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
    "experiment", "arm", "seed", "steps", "cohort_hash", "commit",
    "organ_dsc", "organ_nsd", "tumor_dsc", "tumor_nsd", "seconds_per_case",
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
    """Table 6 of one seed, interrupted four times on the way."""
    folder = tmp_path_factory.mktemp("bench")
    cases = tuple(
        write_case(folder / "work" / "cohort", id, seed, known, role=role)
        for seed, (id, known, role) in enumerate(CASES)
    )
    write_cohort(folder / "work" / "cohort", Cohort(TABLE, cases))
    rows, seen, calls = folder / "rows.json", [], 0

    def cut(after: int):
        left = [after]

        def listen(what: str, done: int, total: int, *, note: str = "") -> None:
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
    found = read_rows(rows)
    assert [row["arm"] for row in found] == ["small", "small+unlabeled", "large", "large+unlabeled"]
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


def test_a_rule_is_chosen_by_its_student_on_other_patients(preset: Preset, tmp_path: Path) -> None:
    def cohort(name: str, chosen: tuple[int, ...]) -> Cohort:
        cases = tuple(
            write_case(tmp_path / name, *(CASES[n][0], n, CASES[n][1]), role=CASES[n][2])
            for n in chosen
        )
        write_cohort(tmp_path / name, Cohort(TABLE, cases))
        return read_cohort(tmp_path / name)

    run, rows = bench.Bench(tmp_path / "work", preset, threads=1), tmp_path / "rows.json"
    run.__dict__["cohort"] = cohort("learned", (0, 1, 3))
    run.__dict__["choosing"] = cohort("others", (4, 5))
    for _ in range(2):  # the second call finds its rows
        bench.choose(run, rows, "decision", seeds=(0,))
    found = read_rows(rows)
    assert {row["arm"] for row in found} == {"most probable label", "best expected Dice"}
    assert len(found) == 2
    for row in found:
        assert (row["patients"], set(row["cases"])) == ("choosing", {"test_a", "test_b"})
        assert 0 <= row["organ_dsc"] <= 1
    assert "(chosen)" in table.choice(found, "decision")
    students = {path.name for path in (run.work / "seed0" / "students").iterdir()}
    assert students == {f"small-round1-{rule}-keep1-two" for rule in ("argmax", "dice")}
    assert not (run.work / "seed0" / "predictions").exists()  # no test case was segmented


@pytest.mark.slow
def test_what_learns_from_what(made: tuple[bench.Bench, Path, list[str]]) -> None:
    at = made[0].work / "seed0"

    def learned(model: Path) -> set[str]:
        splits = json.loads((model / "splits_final.json").read_text())
        return {id for split in splits for part in split.values() for id in part}

    assert learned(at / "teachers" / "small-background-1" / "organs") == {"full_a", "full_b"}
    assert learned(at / "teachers" / "large-background-2" / "organs") == {"full_a", "full_b"}
    assert learned(at / "teachers" / "large-background-1" / "tumor") == {"partial"}
    # Only organ teachers label for students of organs.
    assert [path.name for path in (at / "pseudo").iterdir()] == ["round1-dice"]
    for path in (at / "pseudo" / "round1-dice").rglob("*.nii.gz"):
        assert not (read_labels(path).array == TABLE["spot"].id).any()
    fused = at / "fused" / "round1-dice-keep1-two"
    considered = {
        json.loads(line)["case"] for line in (fused / "ledger.jsonl").read_text().splitlines()
    }
    assert considered == {"full_a", "full_b", "partial", "unlabeled"}
    # Teachers of four steps may find nothing.
    kept = {case["id"] for case in json.loads((fused / "cohort.json").read_text())["cases"]}
    for network in ("large", "small"):
        assert learned(at / "students" / f"{network}-{fused.name}") == kept
    plans = json.loads((at / "students" / "large-round1-dice-keep1-two" / "plans.json").read_text())
    assert plans["nnstudent"]["recipe"]["network"]["features"] == [8, 24]


@pytest.mark.slow
def test_an_arm_of_another_experiment_that_is_the_same_model_is_not_trained_again(
    made: tuple[bench.Bench, Path, list[str]], tmp_path: Path
) -> None:
    run, _, _ = made
    work: list[str] = []
    bench.run(
        replace(run, progress=lambda what, *_, **__: work.append(what)),
        tmp_path / "rows.json",
        only="table6",
        seeds=[0],
    )
    assert not {
        what for what in work if what.startswith(("organs", "tumor", "student", "phantoms"))
    }
    same = [arm for arm in ARMS if arm.key == "small-all-round1-dice-keep1-two"]
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
        "consistency",
    }


@pytest.mark.slow
def test_a_row_of_the_same_model_serves_another_experiment_without_its_folder(
    made: tuple[bench.Bench, Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, rows, _ = made
    monkeypatch.setattr(
        setting,
        "ARMS",
        tuple(arm for arm in ARMS if (arm.experiment, arm.name) == ("teacher", "complete only")),
    )
    monkeypatch.setattr(bench.Bench, "scored", lambda *_: pytest.fail("made again"))
    copy = tmp_path / "rows.json"
    copy.write_text(rows.read_text())
    cases_file(copy).write_bytes(cases_file(rows).read_bytes())
    bench.run(run, copy, only="teacher", seeds=[0])
    *before, last = json.loads(copy.read_text())
    (same,) = [row for row in before if (row["experiment"], row["arm"]) == ("table6", "large")]
    assert last == same | {"experiment": "teacher", "arm": "complete only"}


@pytest.mark.slow
def test_ablations(
    made: tuple[bench.Bench, Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, _ = made
    arms = {arm.name: arm for arm in ARMS}
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
    # No other arm is trained again for them.
    assert all(path.read_bytes() == content for path, content in before.items())
    monkeypatch.setattr(pieces, "SMALL", ("left_ball",))
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
    records = [
        json.loads(path.read_text())
        for path in (run.work / "seed0" / "pseudo" / "round2-dice").glob("*.json")
    ]
    assert {item["case"] for item in records} >= {"unlabeled"}
    assert all(item["round"] == 2 for item in records)


@pytest.mark.slow
def test_a_lesion_stage_learns_with_and_without_unlabeled_scans(
    made: tuple[bench.Bench, Path, list[str]],
    preset: Preset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, _, _ = made
    seen = replace(preset.student.data, hosts=("left_ball",))
    run = replace(
        before,
        work=tmp_path,
        preset=replace(preset, tumor=replace(preset.student, data=seen)),
    )
    run.__dict__["cohort"] = before.cohort
    others = tuple(
        write_case(tmp_path / "others", f"other_{n}", 10 + n, ALL, role="test") for n in range(2)
    )
    run.__dict__["choosing"] = Cohort(TABLE, others)
    monkeypatch.setattr(lesions, "LESION_THRESHOLDS", (0.5, 0.9))
    assert run.tumor_classes == ("left_ball", "spot")
    arms = {arm.name: arm for arm in ARMS if arm.experiment == "tumors"}
    labeled, unlabeled = (
        json.loads((run.bundle(arms[name], 0) / "bundle.json").read_text())["networks"]
        for name in ("small", "small+unlabeled")
    )
    for networks, name in ((labeled, "lesions-labeled"), (unlabeled, "lesions-all")):
        _, stage = networks
        assert stage["spec"]["classes"] == ["background", "left_ball", "spot"]
        record = json.loads((tmp_path / "seed0" / "choosing" / name / "rules.json").read_text())
        assert stage["spec"]["hosts"] == record["rules"]
        assert set(record["rules"]) == {"left_ball"}
        assert set(record["worth"]) == {"allowed", "dsc"}
    students = tmp_path / "seed0" / "students"
    learned = {
        name: set(json.loads((students / name / "splits_final.json").read_text())[0]["train"])
        for name in ("lesions-labeled", "lesions-all")
    }
    assert learned["lesions-labeled"] == {"partial"}
    assert learned["lesions-all"] > {"partial"}
    teachers = {path.name for path in (tmp_path / "seed0" / "teachers").iterdir()}
    assert teachers == {"small-background-1", "large-background-2"}
    # The organs' rows need no lesion stage, and say nothing of tumors.
    (organs,) = (arm for arm in ARMS if (arm.experiment, arm.name) == ("table6", "small"))
    found = run.scored(organs, 0)
    assert found["organ_dsc"] is not None
    for scores in (found, *found["cases"].values()):
        assert not any("tumor" in name for name in scores)


def test_the_cohort_is_as_the_page_says(preset: Preset, tmp_path: Path) -> None:
    cohort = bench.Bench(tmp_path, preset, counts={"full": 1, "test": 1}).cohort
    assert [case.role for case in cohort] == ["train", "test"]
    (full,) = cohort.annotated_with(cohort.taxonomy.organs)
    assert full.id == "phantom_001"


def test_arms_that_learn_for_different_times_are_refused(preset: Preset, tmp_path: Path) -> None:
    longer = replace(preset.student, training=replace(preset.student.training, epochs=9))
    with pytest.raises(InputError, match="every arm needs the same number"):
        bench.Bench(tmp_path, replace(preset, student=longer))


def test_the_real_recipes_differ_in_network_and_grid_only() -> None:
    real = load_preset(ROOT / "bench" / "semisupervised.toml")
    teachers = replace(real.teachers.training, partial=real.student.training.partial)
    assert teachers == real.student.training  # but teachers learn from partial labels
    assert real.teachers.network != real.student.network
    assert sum(COUNTS[kind] for kind in ("tumor", "partial")) == 16
    assert (COUNTS["full"], COUNTS["unlabeled"], COUNTS["test"]) == (6, 42, 30)


def test_every_arm_is_shown_and_named_after_what_differs() -> None:
    assert set(table.TITLES) == set(table.PAIRS) == set(bench.EXPERIMENTS)
    names = {(arm.experiment, arm.name) for arm in ARMS}
    assert all(
        (experiment, name) in {*names, ("consistency", "mean teacher")}  # an arm that was removed
        for experiment, pairs in table.PAIRS.items()
        for pair in pairs
        for name in pair
    )
    keys = {(arm.experiment, arm.name): arm.key for arm in ARMS}
    assert keys["table6", "small+unlabeled"] == "small-all-round1-dice-keep1-two"
    assert keys["cutmix", "half of the windows"] == "small-all-round1-dice-keep1-two-cutmix0.5"
    assert keys["distilling", "half of the loss"] == "small-all-round1-dice-keep1-two-distill0.5"
    assert keys["consistency", "moving average"] == "small-all-round1-dice-keep1-two-ema0.999"
    assert keys["models", "one student"] == "small-all-round1-dice-keep1-one"
    assert (
        keys["copy-paste", "half of the windows"] == "small-all-round1-dice-keep1-one-copy_paste0.5"
    )
    assert keys["uncertain", "ignored"] == "small-all-round1-dice-keep1-two-ignore0.6"


def test_an_arm_that_comes_to_mean_something_else_is_made_again(
    preset: Preset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, arm = bench.Bench(tmp_path, preset), next(arm for arm in ARMS if arm.cascade)
    run.__dict__["cohort_hash"] = "c"
    before = run.row(arm, 0)["arm_hash"]
    assert run.row(replace(arm, name="another"), 0)["arm_hash"] == before
    assert run.row(replace(arm, keep=0.5), 0)["arm_hash"] != before
    monkeypatch.setattr(setting, "SMALL", ("liver",))
    assert run.row(arm, 0)["arm_hash"] != before
    monkeypatch.undo()
    monkeypatch.setattr(setting, "ALL", replace(setting.ALL, min_agreement=0.6))
    assert run.row(arm, 0)["arm_hash"] != before
