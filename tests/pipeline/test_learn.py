"""What is learned from and what decides; the training itself is that of `study`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnstudent.cohort.cohort import Cohort, read_cohort, write_cohort
from nnstudent.cohort.corrections import Corrections, Submission
from nnstudent.cohort.ledger import read_ledger
from nnstudent.errors import Failure, InputError
from nnstudent.evaluation.calibrate import Calibrated
from nnstudent.io.nifti import read_labels, write_image, write_labels
from nnstudent.pipeline import learn as module
from nnstudent.pipeline.learn import Learned, calibrated, complete, learn
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume

TABLE = flare23()
GRID = Grid((2, 3, 8), np.eye(4))
LIVER, SPLEEN = TABLE["liver"].id, TABLE["spleen"].id


class Segmenter:
    """A model that finds a spleen in the right half, and a liver where somebody says it is not."""

    class model:
        classes = ("liver", "spleen")
        hash = "abc"


def predicted(cases, segmenter, *, out, progress):
    out.mkdir(parents=True, exist_ok=True)
    array = np.zeros(GRID.shape, np.uint8)
    array[..., 4:], array[..., :2] = SPLEEN, LIVER
    for case in cases:
        write_labels(out / f"{case.id}.nii.gz", Volume(array, GRID))
    return ()


@pytest.fixture
def corrections(tmp_path):
    found = Corrections(tmp_path / "corrected", TABLE)
    for number in range(2):  # the second is held out
        image = tmp_path / f"p{number}.nii.gz"
        write_image(image, Volume(np.zeros(GRID.shape, np.int16), GRID))
        array = np.zeros(GRID.shape, np.uint8)
        array[..., 2:5] = LIVER
        found.add(
            Submission(f"p{number}", image, Volume(array, GRID), ("liver",), "anna", "2026-11-28")
        )
    return found


def test_what_nobody_confirmed_is_the_model_s_own(corrections, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "predict", predicted)
    fused = tmp_path / "fused"
    assert complete(corrections.cohort(), Segmenter(), fused) == ()
    (case,) = read_cohort(fused)
    assert case.id == "p0", "the other is held out"
    assert case.annotated == {"liver", "spleen"}
    labels = read_labels(case.label).array[0, 0]
    assert labels.tolist() == [0, 0, LIVER, LIVER, LIVER, SPLEEN, SPLEEN, SPLEEN]
    rows = {row.cls: (row.origin, row.model) for row in read_ledger(fused / "ledger.jsonl")}
    assert rows == {"liver": ("truth", None), "spleen": ("pseudo", "abc")}


def test_what_is_rehearsed_is_added(corrections, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "predict", predicted)
    fused = tmp_path / "fused"
    complete(corrections.cohort(), Segmenter(), fused, rehearsal=corrections.folder)
    assert [case.id for case in read_cohort(fused)] == ["p0"], "known by its id already"


@pytest.mark.parametrize(
    ("before", "after", "better", "words"),
    [
        ({"liver": 0.8, "spleen": 0.7}, {"liver": 0.9, "spleen": 0.7}, True, "0.750 before"),
        ({"liver": 0.8, "spleen": 0.7}, {"liver": 0.8, "spleen": 0.7}, True, "0.750 after"),
        ({"liver": 0.8, "spleen": 0.7}, {"liver": 0.7, "spleen": 0.7}, False, "worse"),
        ({"liver": 0.8, "spleen": 0.6}, {"liver": 0.7, "spleen": 0.8}, False, "liver fell"),
        ({}, {}, False, "no class"),
    ],
)
def test_a_student_replaces_the_model_only_if_it_is_no_worse(before, after, better, words):
    judged = module._judged(Learned(Path("b"), 3, 1, None, None), before, after)
    assert judged.better == better
    assert words in judged.why
    assert judged.to_dict()["better"] == better


def test_nothing_to_learn_from_is_said(tmp_path):
    write_cohort(tmp_path, Cohort(TABLE, ()))
    with pytest.raises(InputError, match="no corrected scan"):
        learn(tmp_path, None, None, tmp_path / "out")


def test_what_became_of_the_expected_dice_is_said(corrections, tmp_path, monkeypatch):
    asked = []

    class Bundle:
        classes = ("liver", "spleen")

    class Before:
        quality = "that of the model before"

    def calibrates(model, scans, out, *, before, **_):
        asked.append(([scan.id for scan in scans], scans[0].organs, before))
        if len(asked) > 1:
            raise InputError("1 scans with a known truth; expected at least 3")
        return Calibrated(out, None, len(scans), ())

    monkeypatch.setattr(module, "open_model", lambda path: Bundle())
    monkeypatch.setattr(module, "calibrate_bundle", calibrates)
    lines = [calibrated(corrections.cohort(), tmp_path, before=Before()) for _ in range(2)]
    assert asked[0] == (["p1"], ("liver",), "that of the model before"), "held out and confirmed"
    assert lines[0] == "expected Dice calibrated on 1 held-out scan"
    assert lines[1].startswith("no expected Dice, so that qc flags nothing: 1 scans")


def test_a_scan_that_was_deleted_is_left_out_and_named(corrections, tmp_path):
    assert module._without_deleted(corrections.cohort()) == (corrections.cohort(), "")
    (tmp_path / "p1.nii.gz").unlink()
    cohort, said = module._without_deleted(corrections.cohort())
    assert [case.id for case in cohort] == ["p0"]
    assert said == "; left out, because the scan was deleted: p1"
    (tmp_path / "p0.nii.gz").unlink()
    with pytest.raises(InputError, match=r"correct one more; left out, .* p0, p1"):
        learn(corrections.folder, None, None, tmp_path / "out")


def test_a_scan_that_cannot_be_read_is_left_out_and_named(corrections, tmp_path, monkeypatch):
    labels = Volume(np.full(GRID.shape, LIVER, np.uint8), GRID)
    for name in ("p2", "p3"):
        write_image(tmp_path / f"{name}.nii.gz", Volume(np.zeros(GRID.shape, np.int16), GRID))
        corrections.add(
            Submission(name, tmp_path / f"{name}.nii.gz", labels, ("liver",), "anna", "2026-11-28")
        )
    cohort = corrections.cohort()
    assert [case.id for case in cohort.train()] == ["p0", "p2", "p3"]

    def fails(cases, segmenter, *, out, progress):
        predicted(cases, segmenter, out=out, progress=progress)
        return tuple(Failure(case.id, "damaged") for case in cases if case.id == "p0")

    monkeypatch.setattr(module, "predict", fails)
    cohort["p2"].label.write_bytes(b"no label map")
    left_out = complete(cohort, Segmenter(), tmp_path / "fused")
    assert [failure.case for failure in left_out] == ["p0", "p2"]
    assert [case.id for case in read_cohort(tmp_path / "fused")] == ["p3"]
    said = module._unreadable(left_out)
    assert said.startswith("; left out, because it cannot be used: p0 (damaged); p2 (")
    assert module._unreadable(()) == ""


def test_a_held_out_scan_that_cannot_be_read_is_in_no_mean(corrections, tmp_path, monkeypatch):
    def fails(cases, segmenter, *, out, progress):
        return tuple(Failure(case.id, "damaged") for case in cases)

    monkeypatch.setattr(module, "predict", fails)
    scores = module._scores(corrections.cohort(), Segmenter(), tmp_path / "before", module.silent)
    assert scores == ({}, (Failure("p1", "damaged"),))
