"""nnU-Net datasets as a source of cases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnstudent.cohort.index import index
from nnstudent.cohort.sources import read_source
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_labels
from nnstudent.taxonomy import IGNORE, flare23
from tests.cohort.conftest import Files
from tests.cohort.sources.test_dispatch import rows


def dataset(files: Files, labels: dict, **more) -> None:
    files.text(
        "dataset.json",
        json.dumps(
            {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz", **more}
        ),
    )


FLARE_LABELS = {"background": 0} | {row.name.replace("_", " ").title(): row.id for row in flare23()}


def test_nnunet_dataset(files: Files):
    dataset(files, FLARE_LABELS)
    files.ct("imagesTr/a_0000.nii.gz")
    files.ct("imagesTr/b_0000.nii.gz")
    files.ct("imagesTs/c_0000.nii.gz")
    files.ct("unlabeledTr/d_0000.nii.gz")
    files.label("labelsTr/a.nii.gz", [1])
    source = read_source(files.folder)
    assert source.taxonomy == flare23()
    assert rows(source) == {
        "a": ("a_0000.nii.gz", "a.nii.gz", "train"),
        "b": ("b_0000.nii.gz", None, "train"),
        "c": ("c_0000.nii.gz", None, "test"),
        "d": ("d_0000.nii.gz", None, "train"),
    }
    assert {e.id: e.annotated for e in source.entries}["a"] == flare23().names
    assert all(entry.ids is None for entry in source.entries)


def test_nnunet_ids_are_mapped_to_the_table(files: Files, tmp_path: Path):
    dataset(files, {"background": 0, "spleen": 1, "postcava": 2, "Tumour": 5})
    files.ct("imagesTr/a_0000.nii.gz")
    files.label("labelsTr/a.nii.gz", [1, 2, 5])
    cohort = index(files.folder, tmp_path / "C", taxonomy=flare23()).cohort
    (case,) = cohort.cases
    assert case.annotated == {"spleen", "inferior_vena_cava", "tumor"}
    assert case.label == tmp_path / "C" / "labels" / "a.nii.gz"
    table = np.arange(256)
    table[[1, 2, 5]] = [3, 6, 14]
    assert np.array_equal(
        read_labels(case.label).array, table[read_labels(files.folder / "labelsTr/a.nii.gz").array]
    )


def test_what_a_dataset_has_is_what_is_learned(files: Files, tmp_path: Path):
    labels = {"background": 0, "spleen": 1, "kidney_right": 2, "left kidney": 3, "Tumour": 5}
    dataset(files, labels)
    files.ct("imagesTr/a_0000.nii.gz")
    label = files.label("labelsTr/a.nii.gz", [1, 2, 3, 5])
    cohort = index(files.folder, tmp_path / "C").cohort
    table = cohort.taxonomy
    assert {row.name: row.id for row in table} == {
        "spleen": 1,
        "right_kidney": 2,
        "left_kidney": 3,
        "tumor": 5,
    }
    assert cohort.cases[0].label == label  # as it is: the ids are the dataset's
    assert cohort.annotated_with(table.organs) == cohort.cases
    # What FLARE23's table knows of a class holds here too, but not where a tumor may be.
    for name in ("spleen", "right_kidney"):
        assert table[name] == replace(flare23()[name], id=table[name].id)
    assert flare23()["tumor"].reach_mm > 0
    assert table["tumor"].reach_mm == 0


def test_a_partner_that_the_dataset_lacks(files: Files):
    dataset(files, {"background": 0, "left_kidney": 1})
    files.ct("imagesTr/a_0000.nii.gz")
    assert read_source(files.folder).taxonomy["left_kidney"].partner is None


def test_nnunet_dataset_with_its_own_names(files: Files, tmp_path: Path):
    dataset(files, {"background": 0, "prostate": 2, "liver": 1, "Liver Lesion": 3}, name="Mine")
    files.ct("imagesTr/a_0000.nii.gz")
    files.label("labelsTr/a.nii.gz", [1, 2, 3])
    source = read_source(files.folder)
    assert [(row.id, row.name, row.kind) for row in source.taxonomy] == [
        (1, "liver", "organ"),
        (2, "prostate", "organ"),
        (3, "liver_lesion", "lesion"),
    ]
    assert source.taxonomy["liver"].nsd_mm == 5
    given = index(files.folder, tmp_path / "C", taxonomy=flare23()).cohort
    assert given.cases[0].annotated == {"liver"}
    assert set(np.unique(read_labels(given.cases[0].label).array)) == {0, 1}


def test_where_nobody_looked_is_ignored(files: Files, tmp_path: Path):
    dataset(files, {"background": 0, "liver": [1], "ignore": 2})
    files.ct("imagesTr/a_0000.nii.gz")
    files.label("labelsTr/a.nii.gz", [1, 2])
    found = index(files.folder, tmp_path / "C")
    assert found.cohort.taxonomy.names == ("liver",)
    (case,) = found.cohort.cases
    assert case.annotated == {"liver"}
    raw = read_labels(files.folder / "labelsTr/a.nii.gz").array
    table = np.array([0, 1, IGNORE], np.uint8)
    assert np.array_equal(read_labels(case.label).array, table[raw])
    assert any(
        "of its voxels are ignored (255): not learned from" in line for line in found.notices
    )
    # An indexed cohort keeps it.
    again = index(tmp_path / "C", tmp_path / "D").cohort.cases[0]
    assert (read_labels(again.label).array == IGNORE).any()


def test_a_class_is_what_remains_of_its_region(files: Files, tmp_path: Path):
    regions = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2, "ignore": 4}
    dataset(files, regions, regions_class_order=[1, 3, 2])
    files.ct("imagesTr/a_0000.nii.gz")
    files.label("labelsTr/a.nii.gz", [1, 2, 3, 4])
    source = read_source(files.folder)
    assert {row.name: row.id for row in source.taxonomy} == {"kidney": 1, "masses": 3, "tumor": 2}
    assert [
        "kidney is label 1, masses is label 3, tumor is label 2" in n for n in source.notices
    ] == [True]
    (case,) = index(files.folder, tmp_path / "C").cohort.cases
    assert case.annotated == {"kidney", "masses", "tumor"}
    assert set(np.unique(read_labels(case.label).array)) == {0, 1, 2, 3, IGNORE}


def test_nnunet_files_listed_anywhere(files: Files, monkeypatch):
    ct, label = files.ct("elsewhere/x.nii.gz"), files.label("elsewhere/y.nii.gz", [1])
    monkeypatch.setenv("SOMEWHERE", str(ct.parent))
    listed = {
        "one": {"images": ["${SOMEWHERE}/x.nii.gz"], "label": str(label)},
        "two": {"images": [], "label": None},
    }
    dataset(files, {"background": "0", "liver": "1"}, dataset=listed)
    source = read_source(files.folder)
    assert rows(source) == {"one": ("x.nii.gz", "y.nii.gz", "train")}
    assert [failure.case for failure in source.failures] == ["two"]


def test_nnunet_first_version_wrote_labels_the_other_way_round(files: Files):
    files.text(
        "dataset.json",
        json.dumps({"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}}),
    )
    files.ct("imagesTr/a_0000.nii.gz")
    files.label("labelsTr/a.nii.gz", [1])
    assert read_source(files.folder).entries[0].annotated == ("liver",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channel_names": {"0": "CT", "1": "PET"}}, "expected exactly one, the CT"),
        ({"file_ending": ".png"}, "cannot be read"),
        (
            {"labels": {"background": 0, "whole": [1, 2]}},
            "has 1 region .whole. and regions_class_order None",
        ),
        (
            {"labels": {"background": 0, "whole": [1, 2]}, "regions_class_order": ["x"]},
            "has id 'x'",
        ),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "a distinct name and id"),
        ({"labels": {"background": 0, "a": 999}}, "whole number from 0 to 255"),
        ({"labels": ["liver"]}, "has no labels"),
    ],
)
def test_nnunet_datasets_that_are_refused(files: Files, change, said):
    files.ct("imagesTr/a_0000.nii.gz")
    dataset(files, {"background": 0, "liver": 1})
    data = json.loads((files.folder / "dataset.json").read_text())
    files.text("dataset.json", json.dumps(data | change))
    with pytest.raises(InputError, match=said):
        read_source(files.folder)
