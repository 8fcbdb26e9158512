from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.cohort.index import index
from nnstudent.cohort.sources import read_source
from nnstudent.cohort.sources.source import safe_id
from nnstudent.errors import Failure, InputError
from nnstudent.io.nifti import read_labels
from nnstudent.taxonomy import flare23
from tests.cohort.conftest import ORGANS, Files


def rows(source):
    return {
        entry.id: (entry.image.name, entry.label and entry.label.name, entry.role)
        for entry in source.entries
    }


# FLARE


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


def test_an_output_inside_the_source_is_not_part_of_it(files: Files):
    files.ct("imagesTr/a_0000.nii.gz")
    files.ct("cohort/images/b.nii.gz")
    files.text("cohort/cohort.json", "{}")
    assert list(rows(read_source(files.folder))) == ["a"]


def test_the_error_for_a_plain_folder_says_how_to_list_its_scans(files: Files):
    first, _ = files.ct("a.nii.gz"), files.ct("b.nii.gz")
    for source, said in (
        (files.folder, "2 images in it, but in no known layout"),
        (first, "is an image"),
    ):
        with pytest.raises(
            InputError,
            match=f"{said}.*list the scans in a .csv with the header id,image,label,annotated,role",
        ):
            read_source(source)
    header = "id,image,label,annotated,role\n"
    assert [
        entry.id
        for entry in read_source(
            files.text("c.csv", f"{header},a.nii.gz,,,\n,b.nii.gz,,,\n")
        ).entries
    ] == ["a", "b"]


def test_folders_without_a_layout_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no image in it, and no known layout"):
        read_source(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        read_source(tmp_path / "none")
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(InputError, match="is not a source of cases; expected a list"):
        read_source(tmp_path / "a.xlsx")


# nnU-Net


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
        ({"file_ending": ".nrrd"}, "cannot be read"),
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


# Lists


def test_csv_list(files: Files, monkeypatch):
    files.ct("deep/a.nii.gz")
    monkeypatch.setenv("SCANS", str(files.folder / "deep"))
    path = files.text(
        "cases.csv",
        "\ufeffID,Image,Label,Annotated,Role\n"
        "one,deep/a.nii.gz,deep/l.nii.gz,liver;spleen,\n"
        "two,${SCANS}/b.nii.gz,,,test\n"
        ',deep/My Scan_0000.nii.gz,l.nii.gz,"organs, -spleen",train\n'
        "\n",
    )
    source = read_source(path)
    assert [(e.id, e.image, e.label, e.annotated, e.role) for e in source.entries] == [
        (
            "one",
            files.folder / "deep/a.nii.gz",
            files.folder / "deep/l.nii.gz",
            ("liver", "spleen"),
            "train",
        ),
        ("two", files.folder / "deep/b.nii.gz", None, None, "test"),
        (
            "My_Scan",
            files.folder / "deep/My Scan_0000.nii.gz",
            files.folder / "l.nii.gz",
            ("organs", "-spleen"),
            "train",
        ),
    ]


def test_toml_list(files: Files):
    files.text(
        "tables/mine.toml",
        '[[class]]\nid = 1\nname = "liver"\n[[class]]\nid = 2\nname = "spleen"\n',
    )
    path = files.text(
        "cases.toml",
        'taxonomy = "tables/mine.toml"\n[defaults]\nannotated = ["liver"]\n'
        '[[case]]\nid = "one"\nimage = "a.nii.gz"\nlabel = "l.nii.gz"\n'
        '[[case]]\nimage = "b.nii.gz"\nlabel = "m.nii.gz"\nannotated = "all"\nrole = "test"\n',
    )
    source = read_source(path)
    assert source.taxonomy.names == ("liver", "spleen")
    assert [(e.id, e.annotated, e.role) for e in source.entries] == [
        ("one", ("liver",), "train"),
        ("b", ("all",), "test"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "id,label\nx,y\n", "expected a header with image"),
        ("a.csv", "", "expected a header with image"),
        ("a.csv", "image,weight\na.nii.gz,3\n", "unknown key 'weight'"),
        ("a.csv", "image\na.nii.gz,b,c\n", "too many fields"),
        ("a.csv", "image,role\na.nii.gz,validation\n", "expected train or test"),
        ("a.csv", "image\n", "no case in it"),
        (
            "a.csv",
            "image\n${NO_SUCH_VARIABLE}/a.nii.gz\n",
            r"line 2: \$\{NO_SUCH_VARIABLE\} is not set; set it first",
        ),
        ("a.toml", "[[case]\n", "not valid TOML"),
        ("a.toml", 'cases = "x"\n', "unknown key 'cases'"),
        ("a.toml", '[case]\nimage = "a"\n', r"expected \[\[case\]\] tables"),
        ("a.toml", "[[case]]\nimage = 3\n", "expected text"),
        ("a.toml", '[[case]]\nimage = "a"\nannotated = 3\n', "expected class names"),
        (
            "a.toml",
            'taxonomy = "none.toml"\n[[case]]\nimage = "a"\n',
            "expected the file of a label table",
        ),
    ],
)
def test_lists_that_are_refused(files: Files, name, text, said):
    with pytest.raises(InputError, match=said):
        read_source(files.text(name, text))


def test_a_row_without_an_image_does_not_stop_the_others(files: Files):
    source = read_source(files.text("a.csv", "id,image\none,\ntwo,b.nii.gz\n"))
    assert list(rows(source)) == ["two"]
    assert source.failures[0].case == "one"


# Indexed cohorts


def test_an_indexed_cohort_passes_through(files: Files, tmp_path: Path):
    ct, label = files.ct("images/a.nii.gz"), files.label("labels/a.nii.gz", [1, 3])
    cases = (
        Case("said", ct, label, frozenset({"liver"}), True),
        Case("seen", ct, label, frozenset({"liver", "spleen"}), False),
        Case("bare", ct, role="test"),
    )
    write_cohort(files.folder, Cohort(flare23(), cases, (Failure("gone", "was broken"),)))
    again = index(files.folder / "cohort.json", tmp_path / "C").cohort
    assert again.cases == cases
    assert again.broken == (Failure("gone", "was broken"),)


# Ids


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("FLARE23_0001", "FLARE23_0001"),
        ("my scan (2)", "my_scan_2"),
        ("../../etc/passwd", "etc_passwd"),
        ("-rf", "rf"),
        ("a\nb", "a_b"),
    ],
)
def test_ids_from_file_names(name, id):
    assert safe_id(name) == id


def test_ids_outside_ascii_stay_apart():
    names = ["患者一", "患者二", "Müller", "Möller", "", "x" * 300, "x" * 301]
    ids = [safe_id(name) for name in names]
    assert len(set(ids)) == len(names)
    for id in ids:
        assert Case(id, Path("a")).id == id
        assert len(id) < 150
    assert ids == [safe_id(name) for name in names]
