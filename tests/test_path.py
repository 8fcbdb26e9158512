"""The whole path by the command, with a label table of the user's own, on scans that a tiny network
can learn."""

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

from nnstudent.io.nifti import read_grid, read_labels
from tests.called import call
from tests.inference.stock import stock_labels
from tests.path_scans import ALL, CASES, write_source
from tests.reports import read_report


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


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


def words(source: Path, out: Path, *more: str) -> tuple[object, ...]:
    return (
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
    done = call(*words(source, out, "--report", str(out.parent / "report.json")))
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
        again = call(*words(source, out))
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
        done = command(*words(source, out, "--dry-run"))  # as a process, once
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == "nothing is left to do"
        assert content(out) == before
        new = call(*words(source, tmp_path / "new", "--dry-run"))
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
        done = call(*words(source, copy))
        assert done.returncode == 0, done.stderr
        assert (copy / "bundle" / "bundle.json").is_file()
        assert (copy / "student" / "fold_0" / "checkpoint_final.pth").read_bytes() == checkpoint

    def test_the_student_runs_in_stock_nnunet_and_says_the_same(
        self, finished, source, tmp_path, monkeypatch
    ):
        out, _ = finished
        image = source / "held_out.nii.gz"
        stock = stock_labels(out / "student", image, tmp_path, monkeypatch, folds=(0,))
        ours = read_labels(out / "predictions" / "student" / "held_out.nii.gz")
        assert stock.grid.matches(ours.grid)
        for id in (1, 2):
            both = ((stock.array == id) & (ours.array == id)).sum()
            assert 2 * both / ((stock.array == id).sum() + (ours.array == id).sum()) > 0.98
