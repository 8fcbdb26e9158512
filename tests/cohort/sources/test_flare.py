"""FLARE releases as a source of cases."""

from __future__ import annotations

from nnstudent.cohort.sources import read_source
from tests.cohort.conftest import ORGANS, Files
from tests.cohort.sources.test_dispatch import rows


def test_flare23_as_released(files: Files):
    for name in ("FLARE23_0001", "FLARE23_0002"):
        files.ct(f"imagesTr2200/{name}_0000.nii.gz")
        files.label(f"labelsTr2200/{name}.nii.gz", [1])
    files.ct("unlabelTr1800/FLARE23_3001_0000.nii.gz")
    files.ct("validation/FLARE23Ts_0001_0000.nii.gz")
    files.label(
        "aladdin5-pseudo-labels-FLARE23/imagesTr2200-pseudo-labels/FLARE23_0001.nii.gz", [1]
    )
    source = read_source(files.folder)
    assert rows(source) == {
        "FLARE23_0001": ("FLARE23_0001_0000.nii.gz", "FLARE23_0001.nii.gz", "train"),
        "FLARE23_0002": ("FLARE23_0002_0000.nii.gz", "FLARE23_0002.nii.gz", "train"),
        "FLARE23_3001": ("FLARE23_3001_0000.nii.gz", None, "train"),
        "FLARE23Ts_0001": ("FLARE23Ts_0001_0000.nii.gz", None, "test"),
    }
    assert all(entry.annotated is None for entry in source.entries)
    assert "pseudo-labels" in source.notices[0]
    assert "labelsTr2200" in str(source.entries[0].label)


def test_flare22_as_released(files: Files):
    files.ct("Training/FLARE22_LabeledCase50/images/FLARE22_Tr_0001_0000.nii.gz")
    files.label("Training/FLARE22_LabeledCase50/labels/FLARE22_Tr_0001.nii.gz", [1])
    files.ct("Training/FLARE22_UnlabeledCase1-1000/Case_00001_0000.nii.gz")
    files.ct("Tuning/images/FLARETs_0001_0000.nii.gz")
    files.label("Tuning/labels/FLARETs_0001.nii.gz", [1])
    source = read_source(files.folder)
    assert rows(source) == {
        "FLARE22_Tr_0001": ("FLARE22_Tr_0001_0000.nii.gz", "FLARE22_Tr_0001.nii.gz", "train"),
        "Case_00001": ("Case_00001_0000.nii.gz", None, "train"),
        "FLARETs_0001": ("FLARETs_0001_0000.nii.gz", "FLARETs_0001.nii.gz", "test"),
    }
    said = {entry.id: entry.annotated for entry in source.entries}
    assert (
        said["FLARE22_Tr_0001"] == ORGANS
    )  # every case of this release is full, whatever was operated out
    assert said["Case_00001"] is None


def test_flare_labels_come_from_the_folder_with_the_similar_name(files: Files):
    files.ct("imagesTr/a_0000.nii.gz")
    files.label("labelsTr/a.nii.gz", [1])
    files.label("labelsTr_old/a.nii.gz", [1])
    (entry,) = read_source(files.folder).entries
    assert entry.label.parent.name == "labelsTr"


def test_flare_names_what_does_not_belong(files: Files):
    files.ct("images/a b.nii.gz")
    files.ct("images/A_b.nii.gz")
    files.label("labels/lonely.nii.gz", [1])
    source = read_source(files.folder)
    assert not source.entries
    assert sorted(
        (failure.case, "occurs 2 times" in failure.reason) for failure in source.failures
    ) == [
        ("A_b", True),
        ("a_b", True),
        ("lonely", False),
    ]
