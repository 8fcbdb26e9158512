"""Runs of the whole path that cannot do everything, or that do more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnstudent.io.nifti import read_labels
from tests.called import call
from tests.path_scans import PRESET, write_source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


def test_a_cohort_without_a_fully_annotated_case_is_refused_before_any_work(source, tmp_path):
    text = (source / "cases.toml").read_text()
    partial = [
        block for block in text.split("\n\n") if "one_organ" in block or "unlabeled" in block
    ]
    for path in source.glob("*.nii.gz"):
        shutil.copy(path, tmp_path)
    (tmp_path / "cases.toml").write_text("\n\n".join(partial))
    done = call(
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
    assert "nnstudent run: no case has all 2 organs annotated" in done.stderr
    assert not (tmp_path / "RUN").exists()


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
    short = PRESET.replace("epochs              = 4", "epochs = 1").replace(
        "iterations          = 14", "iterations = 2"
    )
    (tmp_path / "short.toml").write_text(short)
    for path in source.glob("*.nii.gz"):
        shutil.copy(path, tmp_path)
    done = call(
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


def test_a_run_of_which_no_case_can_be_read_names_one(source, tmp_path):
    (tmp_path / "cases.csv").write_text("image\nnone.nii.gz\n")
    done = call(
        "run", tmp_path / "cases.csv", "-o", tmp_path / "RUN", "--preset", source / "tiny.toml"
    )
    assert done.returncode == 2
    assert "no usable case in it (the first: none: " in done.stderr
    assert not (tmp_path / "RUN").exists()
    done = call("run", source, "-o", tmp_path / "RUN2", "--preset", source / "tiny.toml")
    assert done.returncode == 2
    assert "images in it, but in no known layout" in done.stderr
    assert not (tmp_path / "RUN2").exists()


@pytest.mark.slow
def test_organs_from_the_student_and_its_second_stage_with_tumors_laid_over(source, tmp_path):
    short = PRESET.replace("epochs              = 4", "epochs = 1").replace(
        "iterations          = 14", "iterations = 2"
    )
    (tmp_path / "two.toml").write_text(
        f'one_student = false\nsecond_classes = ["brick"]\n{short}[tumor]\nlike = "student"\n[second]\nlike = "student"\n'
    )
    done = call(
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
