"""The verb distill: from a folder of scans and a model to a bundle, and what it refuses."""

from __future__ import annotations

import json

import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.pipeline.distill import plan_lesson
from nnstudent.taxonomy import flare23
from tests.called import call
from tests.path_scans import PRESET
from tests.pipeline.test_distill import scans, teacher

__all__ = ["scans", "teacher"]  # fixtures


def test_bad_input_leaves_nothing(teacher, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.nii.gz").write_bytes(b"no image")
    for folder, says in ((empty, "no image in it"), (broken, "no usable case in it")):
        done = call("distill", folder, "--teacher", teacher, "-o", tmp_path / "run")
        assert done.returncode == 2
        last = done.stderr.splitlines()[-1]  # after the progress
        assert last.startswith("nnstudent distill: ")
        assert says in last
        assert not (tmp_path / "run").exists()


def test_the_bundled_student_is_a_teacher_by_its_name(scans, tmp_path):
    pytest.importorskip("nnunetv2", reason="training needs the extra [train]")
    words = ("distill", scans, "--teacher", "bundled", "-o", tmp_path / "run", "--dry-run")
    done = call(*words, "--classes", "liver,spleen")
    assert done.returncode == 0, done.stderr
    assert "left to do: index, label, select, study, export" in done.stdout
    refused = call(*words, "--classes", "heart")
    assert refused.returncode == 2
    assert "--classes: no class 'heart'" in refused.stderr


def test_what_the_student_starts_from_is_checked_before_any_work(teacher, scans, tmp_path):
    pytest.importorskip("nnunetv2", reason="training needs the extra [train]")
    out = tmp_path / "run"
    words = ("distill", scans, "--teacher", "bundled", "-o", out, "--dry-run", "--start")
    # The preset's network has a convolution less at the finest resolution.
    assert call(*words, "bundled").returncode == 0
    refused = call(*words, teacher, "--classes", "spleen")
    assert refused.returncode == 2
    assert "is another network" in refused.stderr
    assert not out.exists()


@pytest.mark.slow
def test_from_scans_to_a_bundle(teacher, scans, tmp_path):
    pytest.importorskip("nnunetv2", reason="training needs the extra [train]")
    tiny = PRESET.replace("[select]", "[select]\nleave_open = true").replace(
        "[student.training]", '[student.training]\npartial = "marginal"'
    )
    tiny = tiny.replace("epochs              = 4", "epochs = 1").replace("= 14", "= 2")
    preset = tmp_path / "tiny.toml"
    preset.write_text(tiny.replace("min_agreement = 0.05", "min_agreement = 0.0"))
    out, report = tmp_path / "run", tmp_path / "report.json"
    words = ("distill", scans, "--teacher", teacher, "-o", out, "--preset", preset)
    words += ("--map", "totalsegmentator", "--threads", "1", "--report", report)
    planned = call(*words, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "left to do: index, label, select, study, export" in planned.stdout
    assert not out.exists()
    done = call(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    states = {row["name"]: row["state"] for row in json.loads(report.read_text())["stages"]}
    assert "teach" not in states
    assert states["export"] == states["report"] == "done"
    assert states["segment"] == "skipped"
    model = open_model(out / "bundle")
    assert model.classes == ("right_kidney", "spleen")
    assert model.taxonomy["spleen"].id == flare23()["spleen"].id
    assert (out / "report.html").is_file()
    again = call(*words)
    assert "study: done before" in again.stdout
    # What a run replaces cannot be what it starts from.
    refused = call(*words, "--start", out / "bundle")
    assert refused.returncode == 2
    assert "lies in the folder of the run that would replace it" in refused.stderr
    other = (*words[:5], tmp_path / "other", *words[6:])
    started = call(*other, "--start", out / "bundle")
    assert started.returncode == 0, started.stdout + started.stderr
    assert f"starts from {out / 'bundle'}: 2 classes taken over" in started.stderr
    # A bundle of the student can be the next teacher, and so can what `model add` keeps.
    assert plan_lesson(scans, out, teachers=[out / "bundle"]).taxonomy == model.taxonomy
