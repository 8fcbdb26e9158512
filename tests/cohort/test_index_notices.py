"""What indexing a cohort warns of, corrects and names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nnstudent.cohort.cohort import read_cohort
from nnstudent.cohort.index import index
from nnstudent.io.nifti import read_labels
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid
from tests.cohort.conftest import GRID, SHAPE, Files
from tests.cohort.test_index import cohort_of, listed


def test_labels_in_another_orientation_are_turned(files: Files, tmp_path: Path):
    from nnstudent.volume import Volume

    files.ct("a.nii.gz")
    turned = Volume(np.zeros(SHAPE), GRID).reoriented("ASR").grid
    files.label("a_l.nii.gz", [1, 2], grid=turned)
    source = listed(files, "a,a.nii.gz,a_l.nii.gz,,")
    (case,) = cohort_of(source, tmp_path / "C")
    labels = read_labels(case.label)
    assert case.label.parent == tmp_path / "C" / "labels"
    assert labels.grid.matches(GRID)
    assert np.array_equal(
        labels.array, read_labels(files.folder / "a_l.nii.gz").reoriented(GRID.axcodes).array
    )
    case.label.unlink()  # a copy that is gone is made again
    cohort_of(source, tmp_path / "C")
    assert case.label.is_file()


def test_a_header_off_by_rounding_is_corrected(files: Files, tmp_path: Path):
    files.ct("a.nii.gz")
    affine = GRID.affine.copy()
    affine[2, 3] += 0.03
    files.label("a_l.nii.gz", [1], grid=Grid(SHAPE, affine))
    (case,) = cohort_of(listed(files, "a,a.nii.gz,a_l.nii.gz,,"), tmp_path / "C")
    assert read_labels(case.label).grid.matches(GRID)


def test_images_that_do_not_look_like_ct_cause_warnings(files: Files, tmp_path: Path):
    from nnstudent.io.nifti import write_image
    from nnstudent.volume import Volume

    chance = np.random.default_rng(1)
    for name, low, high in (
        ("mr", 0, 800),
        ("shifted", 0, 2500),
        ("windowed", -100, 240),
        ("ct", -1000, 900),
    ):
        write_image(
            files.folder / f"{name}.nii.gz",
            Volume(chance.integers(low, high, SHAPE).astype(np.int16), GRID),
        )
    write_image(files.folder / "blank.nii.gz", Volume(np.zeros(SHAPE, np.int16), GRID))
    found = index(
        listed(
            files,
            *(f"{name},{name}.nii.gz,,," for name in ("mr", "shifted", "windowed", "ct", "blank")),
        ),
        tmp_path / "C",
    )
    warned = {id: " ".join(facts.warnings) for id, facts in found.facts.items()}
    assert "MR, scaled values" in warned["mr"]
    assert "without its rescale intercept" in warned["shifted"]
    assert "windowed for display" in warned["windowed"]
    assert warned["ct"] == ""
    assert "every voxel is 0" in found.cohort.broken[0].reason
    assert any(line.startswith("mr: ") for line in found.notices)


def test_classes_beyond_the_declared_are_named(files: Files, tmp_path: Path):
    files.ct("a.nii.gz"), files.label("a_l.nii.gz", [1, 3])
    found = index(listed(files, "a,a.nii.gz,a_l.nii.gz,liver,"), tmp_path / "C")
    assert found.notices == (
        "a: its label map holds spleen, not declared as annotated: not learned from",
    )


def test_sparse_labels_in_an_nnunet_dataset_cause_a_notice(files: Files, tmp_path: Path):
    labels = {"background": 0} | {row.name: row.id for row in flare23()}
    files.text(
        "dataset.json",
        json.dumps({"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}),
    )
    files.ct("imagesTr/a_0000.nii.gz"), files.label("labelsTr/a.nii.gz", [1, 2])
    found = index(files.folder, tmp_path / "C")
    assert found.cohort.cases[0].annotated == set(flare23().names)
    assert "--annotated '*=infer'" in found.notices[0]
    assert cohort_of(files.folder, tmp_path / "C", annotated={"*": ["infer"]}).cases[
        0
    ].annotated == {"liver", "right_kidney"}


def test_a_guess_is_recorded_with_the_case(files: Files, tmp_path: Path):
    """An unstated orientation is in the notices, facts, cohort.json and the report."""
    from types import SimpleNamespace

    import nibabel as nib

    from nnstudent.report.context import cohort_facts

    files.ct("good.nii.gz")
    image = nib.load(files.ct("guess.nii.gz"))
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(
        nib.Nifti1Image(np.asarray(image.dataobj), None, image.header),
        files.folder / "guess.nii.gz",
    )
    found = index(listed(files, "good,good.nii.gz,,,", "guess,guess.nii.gz,,,"), tmp_path / "C")
    said = "does not state the orientation"
    assert [said in line for line in found.notices if line.startswith("guess: ")] == [True]
    assert [said in line for line in found.facts["guess"].warnings] == [True]
    cohort = read_cohort(tmp_path / "C")
    assert {case.id: len(case.warnings) for case in cohort} == {"good": 0, "guess": 1}
    (row,) = cohort_facts(SimpleNamespace(cohort=cohort, taxonomy=cohort.taxonomy))["warned"]
    assert row["id"] == "guess"
    assert said in row["warnings"][0]


def test_what_a_source_passes_over_is_named(files: Files, tmp_path: Path):
    (
        files.ct("imagesTr/a_0000.nii.gz"),
        files.label("labelsTr/a.nii.gz", [1]),
        files.label("imagesTr/a_labels.nii.gz", [1]),
    )
    (
        files.ct("other/b.nii.gz"),
        files.text("imagesTr/notes.txt", ""),
        files.text("imagesTr/._a_0000.nii.gz", ""),
    )
    found = index(files.folder, tmp_path / "C")
    assert [case.id for case in found.cohort] == ["a"]
    told = "\n".join(found.notices)
    for name in (
        "imagesTr/a_labels.nii.gz",
        "other/b.nii.gz",
        "imagesTr/notes.txt",
        "imagesTr/._a_0000.nii.gz",
    ):
        assert name in told
