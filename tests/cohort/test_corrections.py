from __future__ import annotations

import numpy as np
import pytest

from nnstudent.cohort.corrections import ABSENT, CONFIRMED, Corrections, Submission
from nnstudent.errors import GeometryError, InputError
from nnstudent.io.nifti import read_labels, write_image, write_labels
from nnstudent.taxonomy import Taxonomy, flare23
from nnstudent.volume import Grid, Volume

GRID = Grid((2, 3, 8), np.eye(4))
TABLE = flare23()
LIVER, SPLEEN = (TABLE[name].id for name in ("liver", "spleen"))


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "ct.nii.gz"
    write_image(path, Volume(np.zeros(GRID.shape, np.int16), GRID))
    return path


def row(*ids, grid=GRID):
    """A label map with these ids one after the other along x."""
    array = np.zeros(grid.shape, np.uint8)
    array[..., : len(ids)] = ids
    return Volume(array, grid)


def said(image, labels, *confirmed, case="p1", by="anna", **more):
    return Submission(case, image, labels, confirmed, by, "2026-11-28T22:00:00+00:00", **more)


def test_only_confirmed_classes_are_truth(image, tmp_path):
    corrections = Corrections(tmp_path / "corrected", TABLE)
    corrections.add(said(image, row(LIVER, LIVER, SPLEEN), "spleen", "gallbladder"))
    (case,) = corrections.cohort()
    assert case.annotated == {"spleen", "gallbladder"}
    assert case.declared
    assert set(np.unique(read_labels(case.label).array)) == {0, SPLEEN}
    assert {r.cls: (r.why, r.by) for r in corrections.rows("p1")} == {
        "spleen": (CONFIRMED, "anna"),
        "gallbladder": (ABSENT, "anna"),
    }


def test_a_later_correction_keeps_what_it_does_not_confirm(image, tmp_path):
    corrections = Corrections(tmp_path / "corrected", TABLE)
    corrections.add(said(image, row(LIVER, LIVER, LIVER, 0, SPLEEN), "liver", "spleen"))
    notes = corrections.add(said(image, row(0, 0, 0, SPLEEN, SPLEEN), "spleen", by="anna"))
    assert notes == ()
    labels = read_labels(corrections.label("p1")).array
    assert (labels == row(LIVER, LIVER, LIVER, SPLEEN, SPLEEN).array).all()


def test_what_gives_way_is_said(image, tmp_path):
    corrections = Corrections(tmp_path / "corrected", TABLE)
    corrections.add(said(image, row(LIVER, LIVER), "liver"))
    notes = corrections.add(said(image, row(0, SPLEEN), "spleen", by="ben"))
    assert notes == ("6 voxels of the liver that was confirmed before now belong to another class",)
    notes = corrections.add(said(image, row(LIVER), "liver", by="ben"))
    assert "replaces what anna confirmed" in notes[0]


def test_one_scan_in_four_is_held_out(image, tmp_path):
    corrections = Corrections(tmp_path / "corrected", TABLE)
    for number in range(6):
        corrections.add(said(image, row(LIVER), "liver", case=f"p{number}"))
    roles = {case.id: case.role for case in corrections.cohort()}
    assert [id for id, role in roles.items() if role == "test"] == ["p1", "p5"]
    corrections.add(said(image, row(LIVER), "liver", case="p1"))
    assert corrections.cohort()["p1"].role == "test", "for good"


def test_an_image_that_does_not_last_is_copied(image, tmp_path):
    corrections = Corrections(tmp_path / "corrected", TABLE)
    corrections.add(said(image, row(LIVER), "liver", copy=True))
    image.unlink()
    assert corrections.cohort()["p1"].image.is_file()


def test_what_cannot_be_taken_changes_nothing(image, tmp_path):
    corrections = Corrections(tmp_path / "corrected", TABLE)
    other = Grid(GRID.shape, np.diag([2.0, 1.0, 1.0, 1.0]))
    for error, labels, confirmed in (
        (InputError, row(LIVER), ()),
        (InputError, row(LIVER), ("lung",)),
        (InputError, row(99), ("liver",)),
        (GeometryError, row(LIVER, grid=other), ("liver",)),
    ):
        with pytest.raises(error):
            corrections.add(said(image, labels, *confirmed))
    assert not len(corrections.cohort())


def test_submissions_are_kept_as_they_came(image, tmp_path):
    corrections = Corrections(tmp_path / "corrected", TABLE)
    write_labels(tmp_path / "sent.nii.gz", row(LIVER))
    paths = [
        corrections.keep("p1", tmp_path / "sent.nii.gz", by=by, at="2026-11-28T22:00")
        for by in ("anna/../..", "")
    ]
    assert [path.parent.name for path in paths] == ["p1", "p1"]
    assert paths[0].name == "0001-20261128T2200-anna.nii.gz"
    assert paths[1].name == "0002-20261128T2200-somebody.nii.gz"


def test_another_label_table_is_refused(image, tmp_path):
    Corrections(tmp_path / "corrected", TABLE).add(said(image, row(LIVER), "liver"))
    with pytest.raises(InputError, match="label table"):
        Corrections(tmp_path / "corrected", Taxonomy("other", TABLE.classes[:3]))
