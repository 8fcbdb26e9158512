"""distill: models that exist label unlabeled scans, and a student learns from that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.errors import InputError
from nnstudent.io.nifti import write_image
from nnstudent.pipeline.distill import grids_of, plan_lesson
from nnstudent.taxonomy import flare23
from tests.called import call
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder
from tests.path_scans import PRESET, scan

LAYOUT = "nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"  # TotalSegmentator's
CLASSES = ("spleen", "kidney_right", "rib_left_1")
SCANS = ("a", "b", "c")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="an nnU-Net folder needs torch")
    folder = tmp_path_factory.mktemp("teacher") / "Dataset291_Organs" / LAYOUT
    return make_folder(folder, ISOTROPIC, classes=CLASSES, seed=3)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for seed, name in enumerate(SCANS):
        write_image(folder / f"{name}.nii.gz", scan(seed)[0])
    return folder


def test_the_table_is_the_teachers_or_the_maps(teacher, scans, tmp_path):
    own = plan_lesson(scans, tmp_path / "run", teachers=[teacher])
    assert own.taxonomy.names == ("spleen", "right_kidney", "rib_left_1")
    assert own.taxonomy.ids == (1, 2, 3)
    mapped = plan_lesson(
        scans, tmp_path / "run", teachers=[teacher], mapping="totalsegmentator", classes=["Spleen"]
    )
    assert mapped.taxonomy == flare23().only(["spleen"])
    assert mapped.mapping is not None
    assert mapped.mapping.targets == {"spleen": ("spleen",)}
    assert not (tmp_path / "run").exists()


def test_teachers_of_different_classes_share_a_table(teacher, scans, tmp_path):
    other = make_folder(tmp_path / "other", ISOTROPIC, classes=("aorta", "heart"))
    lesson = plan_lesson(scans, tmp_path / "run", teachers=[teacher, other])
    assert lesson.taxonomy.names == ("spleen", "right_kidney", "rib_left_1", "aorta", "heart")


def test_the_scans_of_a_folder_are_a_list(teacher, scans, tmp_path):
    lesson = plan_lesson(scans, tmp_path / "run", teachers=[teacher])
    assert lesson.source == tmp_path / "run" / "scans.csv"
    lines = (lesson.listed or "").splitlines()
    assert lines[:2] == ["id,image", f"a,{scans / 'a.nii.gz'}"]
    assert len(grids_of(scans, lesson)) == len(SCANS)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"teachers": []}, "no teacher"),
        ({"classes": ["gallbladder"]}, "--classes: no class 'gallbladder'"),
        (
            {"classes": ["liver"], "mapping": "totalsegmentator"},
            "--classes liver: no teacher knows it; they know right_kidney, spleen",
        ),
        ({"mapping": "amoss"}, "did you mean amos"),
        ({"taxonomy": flare23().only(["liver"])}, "know no class of label table flare23"),
    ],
)
def test_what_cannot_be_taught_is_one_line(teacher, scans, tmp_path, how, says):
    with pytest.raises(InputError, match=says) as caught:
        plan_lesson(scans, tmp_path / "run", **({"teachers": [teacher]} | how))
    assert "\n" not in str(caught.value)


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
    # A bundle of the student can be the next teacher, and so can what `model add` keeps.
    assert plan_lesson(scans, out, teachers=[out / "bundle"]).taxonomy == model.taxonomy


def test_one_image_is_no_cohort(teacher, tmp_path):
    write_image(tmp_path / "one.nii.gz", blobs((10, 12, 14), (5.0, 4.0, 4.0)))
    with pytest.raises(InputError, match="is an image; expected"):
        plan_lesson(tmp_path / "one.nii.gz", tmp_path / "run", teachers=[teacher])
