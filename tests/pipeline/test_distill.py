"""distill: models that exist label unlabeled scans, and a student learns from that."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.errors import InputError
from nnstudent.io.nifti import write_image
from nnstudent.pipeline.distill import grids_of, plan_lesson
from nnstudent.taxonomy import flare23
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder
from tests.path_scans import scan

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


def test_the_bundled_student_can_be_a_teacher(scans, tmp_path):
    lesson = plan_lesson(scans, tmp_path / "run", teachers=[None], classes=["liver", "spleen"])
    assert lesson.taxonomy == flare23().only(["liver", "spleen"])
    assert [open_model(path).hash for path in lesson.teachers] == [open_model().hash]


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


def test_one_image_is_no_cohort(teacher, tmp_path):
    write_image(tmp_path / "one.nii.gz", blobs((10, 12, 14), (5.0, 4.0, 4.0)))
    with pytest.raises(InputError, match="is an image; expected"):
        plan_lesson(tmp_path / "one.nii.gz", tmp_path / "run", teachers=[teacher])
