"""The whole path by the command, with a label table of the user's own, on scans that a tiny network can learn."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nnstudent.io.nifti import read_grid, read_labels, write_image, write_labels
from nnstudent.volume import Grid, Volume
from tests.reports import read_report

TABLE = """
name = "three"
[[class]]
id = 1
name = "ball"
[[class]]
id = 2
name = "brick"
[[class]]
id = 3
name = "spot"
kind = "lesion"
"""

PRESET = """
folds = 2
[select]
min_agreement = 0.05
[student.network]
features = [8, 16, 16]
strides  = [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
[student.data]
spacing_mm  = [4.0, 4.0, 4.0]
patch       = [16, 24, 24]
image_order = 1
separate_z  = false
foreground  = 0.7
[student.training]
epochs              = 5
iterations          = 16
validation_batches  = 1
optimizer           = "adamw"
lr                  = 1e-2
schedule            = "cosine"
class_weights       = "rarity"
batch_dice          = true
label_interpolation = "nearest"
augment             = ["brightness"]
[teachers]
like = "student"
"""

SHAPE, SPACING_MM = (20, 30, 36), 3.0
ORGANS, ALL = ("ball", "brick"), ("ball", "brick", "spot")
# id, annotated, role: full, organs only, one organ only, none, and one to test on.
CASES = (
    ("full_a", ALL, "train"),
    ("full_b", ALL, "train"),
    ("organs", ORGANS, "train"),
    ("one_organ", ("ball",), "train"),
    ("unlabeled", (), "train"),
    ("held_out", ALL, "test"),
)


def scan(seed: int) -> tuple[Volume, Volume]:
    """A ball with a bright spot in it and a brick, in noise, each case elsewhere; LPS, as CT is stored."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(SHAPE)
    center = np.array([10, 14, 10]) + rng.integers(-2, 3, 3)
    distance = np.sqrt(sum((axis - at) ** 2 for axis, at in zip((z, y, x), center, strict=True)))
    labels = np.zeros(SHAPE, np.uint8)
    labels[distance < 7] = 1
    low = np.array([5, 8, 22]) + rng.integers(-2, 3, 3)
    labels[low[0] : low[0] + 9, low[1] : low[1] + 12, low[2] : low[2] + 10] = 2
    labels[distance < 3] = 3
    hu = np.array([-80, 60, 180, 320])[labels] + rng.normal(0, 15, SHAPE)
    grid = Grid(SHAPE, np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0]))
    return Volume(hu.astype(np.int16), grid), Volume(labels, grid)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    (folder / "table.toml").write_text(TABLE)
    (folder / "tiny.toml").write_text(PRESET)
    rows = []
    for seed, (id, annotated, role) in enumerate(CASES):
        image, labels = scan(seed)
        write_image(folder / f"{id}.nii.gz", image)
        row = [f'id = "{id}"', f'image = "{id}.nii.gz"', f'role = "{role}"']
        if annotated:
            kept = np.where(
                np.isin(labels.array, [ALL.index(name) + 1 for name in annotated]), labels.array, 0
            )
            if "spot" not in annotated:  # who does not look for spots draws the ball over them
                kept[labels.array == 3] = 1
            write_labels(folder / f"{id}_label.nii.gz", Volume(kept, labels.grid))
            row += [f'label = "{id}_label.nii.gz"', f"annotated = {json.dumps(list(annotated))}"]
        rows.append("\n".join(["[[case]]", *row]))
    (folder / "cases.toml").write_text("\n\n".join(rows))
    return folder


def command(*words: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [Path(sys.executable).with_name("nnstudent"), *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def run(source: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return command(
        "run",
        source / "cases.toml",
        "-o",
        out,
        "--preset",
        source / "tiny.toml",
        "--taxonomy",
        source / "table.toml",
        "--threads",
        1,
        "--baseline",
        *more,
    )


@pytest.fixture(scope="module")
def finished(
    source: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("run") / "RUN"
    done = run(source, out, "--report", str(out.parent / "report.json"))
    if done.returncode:
        pytest.fail(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return out, done


def content(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
class TestPath:
    def test_every_stage_is_done_and_the_report_is_the_last_line(self, finished):
        out, done = finished
        stages = json.loads((out / "run.json").read_text())["stages"]
        report = read_report(out.parent / "report.json", "run")
        assert [row["name"] for row in report["stages"]] == [row["name"] for row in stages]
        names = "index, teach, label, select, study, export, segment, profile, ensemble, baseline, evaluate, report"
        assert [(row["name"], row["state"]) for row in stages] == [
            (name, "done") for name in names.split(", ")
        ]
        assert all(row["seconds"] >= 0 and row["peak_rss_mb"] > 10 for row in stages)
        assert done.stdout.splitlines()[-1] == f"report: {out / 'report.html'}"
        assert "[5/12] study" in done.stdout

    def test_the_student_learned_from_truth_and_pseudo_labels(self, finished, source):
        out, _ = finished
        scores = json.loads((out / "scores" / "student.json").read_text())
        assert scores["mean"]["ball"]["n"] == 1
        assert scores["mean"]["ball"]["dsc"] > 0.6, scores["mean"]
        assert scores["mean"]["brick"]["dsc"] > 0.6, scores["mean"]
        for who in ("teacher", "baseline"):
            assert (
                json.loads((out / "scores" / f"{who}.json").read_text())["mean"]["organs"]["n"] == 1
            )
        alone = json.loads((out / "baseline" / "fused" / "cohort.json").read_text())
        assert [case["id"] for case in alone["cases"]] == ["full_a", "full_b", "organs"]

    def test_the_segmentation_lies_on_the_scans_grid(self, finished, source):
        out, _ = finished
        labels = read_labels(out / "predictions" / "student" / "held_out.nii.gz")
        assert labels.grid.matches(read_grid(source / "held_out.nii.gz"))
        assert set(np.unique(labels.array)) <= {0, 1, 2, 3}

    def test_the_ledger_accounts_for_every_training_case_and_class(self, finished):
        out, _ = finished
        rows = [
            json.loads(line) for line in (out / "fused" / "ledger.jsonl").read_text().splitlines()
        ]
        table = {(row["case"], row["class"]): row for row in rows}
        train = [(id, annotated) for id, annotated, role in CASES if role == "train"]
        assert len(rows) == len(table) == len(train) * len(ALL)
        models = {
            json.loads(path.read_text())["models"].get("brick")
            for path in (out / "pseudo").glob("*.json")
        } - {None}
        assert len(models) == 1
        for id, annotated in train:
            kept = (
                out / "fused" / "nnUNet_raw" / "Dataset001_fused" / "labelsTr" / f"{id}.nii.gz"
            ).is_file()
            for name in ALL:
                row = table[id, name]
                expected = "dropped" if not kept else "truth" if name in annotated else "pseudo"
                assert row["origin"] == expected
                assert row["why"]
                if row["origin"] == "pseudo" and name != "spot":
                    assert row["model"] in models
                    assert 0 <= row["score"] <= 1
        assert all(table["full_a", name]["origin"] == "truth" for name in ALL)

    def test_truth_won_where_it_was_annotated(self, finished, source):
        out, _ = finished
        fused = read_labels(
            out / "fused" / "nnUNet_raw" / "Dataset001_fused" / "labelsTr" / "organs.nii.gz"
        ).array
        truth = read_labels(source / "organs_label.nii.gz").array
        assert (truth[fused == 1] == 1).all()
        assert (truth[fused == 2] == 2).all()
        assert (
            fused[(truth > 0) & (fused != truth)] == 3
        ).all()  # only a found spot may lie over an annotated organ

    def test_a_second_call_does_nothing(self, finished, source):
        out, _ = finished
        before = content(out)
        begin = time.monotonic()
        again = run(source, out)
        seconds = time.monotonic() - begin
        assert again.returncode == 0, again.stderr
        after = content(out)
        assert {name for name in after if after[name] != before.get(name)} <= {"run.json"}
        assert set(after) == set(before)
        assert "teach: done before" in again.stdout
        assert seconds < 20
        assert (
            json.loads((out / "run.json").read_text())["stages"][1]["seconds"] > 0
        )  # what it took is still told

    def test_a_dry_run_says_what_is_left_and_touches_nothing(self, finished, source, tmp_path):
        out, _ = finished
        before = content(out)
        done = run(source, out, "--dry-run")
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == "nothing is left to do"
        assert content(out) == before
        new = run(source, tmp_path / "new", "--dry-run")
        assert new.stdout.splitlines()[-1].startswith(
            "left to do: index, teach, label, select, study"
        )
        assert not (tmp_path / "new").exists()

    def test_a_lost_result_is_made_again_without_training(self, finished, source, tmp_path):
        out, _ = finished
        copy = tmp_path / "RUN"
        shutil.copytree(out, copy)
        shutil.rmtree(copy / "bundle")
        checkpoint = (copy / "student" / "fold_0" / "checkpoint_final.pth").read_bytes()
        done = run(source, copy)
        assert done.returncode == 0, done.stderr
        assert (copy / "bundle" / "bundle.json").is_file()
        assert (copy / "student" / "fold_0" / "checkpoint_final.pth").read_bytes() == checkpoint

    def test_the_student_runs_in_stock_nnunet_and_says_the_same(self, finished, source, tmp_path):
        out, _ = finished
        inputs = tmp_path / "in"
        inputs.mkdir()
        shutil.copy(source / "held_out.nii.gz", inputs / "held_out_0000.nii.gz")
        script = Path(sys.executable).with_name("nnUNetv2_predict_from_modelfolder")
        done = subprocess.run(
            [script, "-i", inputs, "-o", tmp_path / "out", "-m", out / "student", "-f", "0", "-device", "cpu", "--disable_tta",
             "-npp", "1", "-nps", "1"],
            capture_output=True, text=True, timeout=300, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        stock = read_labels(tmp_path / "out" / "held_out.nii.gz")
        ours = read_labels(out / "predictions" / "student" / "held_out.nii.gz")
        assert stock.grid.matches(ours.grid)
        for id in (1, 2):
            both = ((stock.array == id) & (ours.array == id)).sum()
            assert 2 * both / ((stock.array == id).sum() + (ours.array == id).sum()) > 0.98


@pytest.mark.slow
def test_a_cohort_without_a_fully_annotated_case_names_the_stage_and_skips_what_needs_it(
    source, tmp_path
):
    text = (source / "cases.toml").read_text()
    partial = [
        block for block in text.split("\n\n") if "one_organ" in block or "unlabeled" in block
    ]
    for path in source.glob("*.nii.gz"):
        shutil.copy(path, tmp_path)
    (tmp_path / "cases.toml").write_text("\n\n".join(partial))
    done = command(
        "run",
        tmp_path / "cases.toml",
        "-o",
        tmp_path / "RUN",
        "--preset",
        source / "tiny.toml",
        "--taxonomy",
        source / "table.toml",
    )
    assert done.returncode == 2  # as of teach by itself: no case could be learned from
    assert "Traceback" not in done.stderr
    assert "failed: teach: no case has all 2 organs annotated" in done.stderr
    states = {
        row["name"]: row["state"]
        for row in json.loads((tmp_path / "RUN" / "run.json").read_text())["stages"]
    }
    assert states["index"] == "done"
    assert {states[name] for name in ("label", "select", "study", "export", "segment")} == {
        "skipped"
    }


@pytest.mark.slow
def test_one_fully_annotated_case_is_enough(source, tmp_path):
    text = (source / "cases.toml").read_text()
    (tmp_path / "cases.toml").write_text(
        "\n\n".join(
            block
            for block in text.split("\n\n")
            if "full_b" not in block and 'organs"' not in block
        )
    )
    short = PRESET.replace("epochs              = 5", "epochs = 1").replace(
        "iterations          = 16", "iterations = 2"
    )
    (tmp_path / "short.toml").write_text(short)
    for path in source.glob("*.nii.gz"):
        shutil.copy(path, tmp_path)
    done = command(
        "run", tmp_path / "cases.toml", "-o", tmp_path / "RUN", "--preset", tmp_path / "short.toml", "--taxonomy", source / "table.toml",
        "--threads", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {
        row["name"]: row
        for row in json.loads((tmp_path / "RUN" / "run.json").read_text())["stages"]
    }
    assert rows["index"]["detail"].startswith("1 case fully, 1 partly and 1 not labeled")
    assert rows["teach"]["detail"] == "organs: 1 fold, tumor: 1 fold"
    assert {row["state"] for row in rows.values()} == {"done"}


@pytest.mark.slow
def test_a_run_of_which_no_case_can_be_read_names_one(source, tmp_path):
    (tmp_path / "cases.csv").write_text("image\nnone.nii.gz\n")
    done = command(
        "run", tmp_path / "cases.csv", "-o", tmp_path / "RUN", "--preset", source / "tiny.toml"
    )
    assert done.returncode == 2
    assert "failed: index: " in done.stderr
    assert (
        "no usable case to learn from; 0 for testing only, 1 broken (the first: none: "
        in done.stderr
    )
    done = command("run", source, "-o", tmp_path / "RUN2", "--preset", source / "tiny.toml")
    assert done.returncode == 2
    assert "images in it, but in no known layout" in done.stderr
    assert not (tmp_path / "RUN2").exists()


@pytest.mark.slow
def test_organs_from_the_student_and_its_second_stage_with_tumors_laid_over(source, tmp_path):
    short = PRESET.replace("epochs              = 5", "epochs = 1").replace(
        "iterations          = 16", "iterations = 2"
    )
    (tmp_path / "two.toml").write_text(
        f'one_student = false\nsecond_classes = ["brick"]\n{short}[tumor]\nlike = "student"\n[second]\nlike = "student"\n'
    )
    done = command(
        "run", source / "cases.toml", "-o", tmp_path / "RUN", "--preset", tmp_path / "two.toml", "--taxonomy", source / "table.toml",
        "--threads", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bundle = json.loads((tmp_path / "RUN" / "bundle" / "bundle.json").read_text())
    classes = [row["spec"]["classes"][1:] for row in bundle["networks"]]
    assert classes == [["ball", "brick"], ["brick"], ["spot"]]
    rows = [
        json.loads(line)
        for line in (tmp_path / "RUN" / "fused" / "ledger.jsonl").read_text().splitlines()
    ]
    assert {row["why"] for row in rows if row["class"] == "spot"} == {"not a class of this student"}
    for path in (
        tmp_path / "RUN" / "fused" / "nnUNet_raw" / "Dataset001_fused" / "labelsTr"
    ).iterdir():
        assert set(np.unique(read_labels(path).array)) <= {0, 1, 2}
    # A tumor that the student is not taught would be a hole in an organ.
    labeled = [
        json.loads(path.read_text()) for path in (tmp_path / "RUN" / "pseudo").glob("*.json")
    ]
    assert [label["classes"] for label in labeled] == [["ball", "brick"]] * 2
