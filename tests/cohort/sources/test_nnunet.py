"""nnU-Net datasets as a source of cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nnstudent.cohort.index import index
from nnstudent.cohort.sources import read_source
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_labels
from nnstudent.taxonomy import flare23
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
    cohort = index(files.folder, tmp_path / "C").cohort
    (case,) = cohort.cases
    assert case.annotated == {"spleen", "inferior_vena_cava", "tumor"}
    assert case.label == tmp_path / "C" / "labels" / "a.nii.gz"
    table = np.arange(256)
    table[[1, 2, 5]] = [3, 6, 14]
    assert np.array_equal(
        read_labels(case.label).array, table[read_labels(files.folder / "labelsTr/a.nii.gz").array]
    )


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


def test_an_ignore_label_causes_a_notice(files: Files):
    dataset(files, {"background": 0, "liver": 1, "ignore": 2})
    files.ct("imagesTr/a_0000.nii.gz")
    files.label("labelsTr/a.nii.gz", [1, 2])
    source = read_source(files.folder)
    assert [row.name for row in source.taxonomy] == [row.name for row in flare23()]
    assert ["ignore are taken for background" in notice for notice in source.notices] == [True]


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
        ({"labels": {"background": 0, "whole": [1, 2]}}, "a region made of several labels"),
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
