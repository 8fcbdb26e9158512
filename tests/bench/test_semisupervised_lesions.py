"""The rules of a lesion stage are those that find most in patients with lesions, and little else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bench.semisupervised_lesions as lesions
from bench.semisupervised_lesions import Found, Piece, Worth, choose_rules, worth
from nnstudent.bundle.spec import HostRule
from nnstudent.cohort.cohort import Case
from nnstudent.io.nifti import write_labels
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume

STRICT = HostRule(0.97, 3.0)


def piece(host: str, *, right: int, voxels: int = 10, ml: float = 5.0) -> Piece:
    return Piece(host, voxels, right, ml)


def test_rules_are_worth_the_dice_of_what_they_keep() -> None:
    found = Found(10, {0.5: (piece("liver", right=5), piece("liver", right=0, ml=0.2)), 0.97: ()})
    assert worth([found], {"liver": HostRule(0.5, 1.0)}) == Worth(0.0, 2 * 5 / 20)
    assert worth([found], {"liver": HostRule(0.5, 0.1)}) == Worth(0.0, 2 * 5 / 30)
    assert worth([found], {"liver": STRICT}) == Worth(0.0, 0.0)


def test_false_lesions_in_more_patients_than_allowed_outweigh_any_dice() -> None:
    healthy = [Found(0, {0.5: (piece("liver", right=0),) if n < 2 else ()}) for n in range(4)]
    ill = Found(10, {0.5: (piece("liver", right=10),)})
    everything = worth([*healthy, ill], {"liver": HostRule(0.5, 0.1)})
    assert everything == Worth(-0.25, 1.0)
    assert everything < worth([*healthy, ill], {"liver": STRICT})


def test_each_host_gets_a_rule_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The liver's lesions are found at any threshold; what is found in kidneys is false."""
    patients = [
        Found(10, {0.5: (piece("liver", right=9),), 0.97: ()}),
        *(Found(0, {0.5: (piece("left_kidney", right=0),), 0.97: ()}) for _ in range(3)),
    ]
    monkeypatch.setattr(lesions, "LESION_THRESHOLDS", (0.5, 0.97))
    monkeypatch.setattr(lesions, "_found", lambda *_, **__: patients)

    class Model:
        networks = (type("N", (), {"spec": type("S", (), {"hosts": {"liver", "left_kidney"}})}),)

    rules, best = choose_rules(Model(), None, Path(), threads=1, progress=None)  # type: ignore[arg-type]
    assert rules["liver"].threshold == 0.5
    assert rules["left_kidney"] == STRICT
    assert best == Worth(0.0, 2 * 9 / 20)


def test_a_piece_belongs_to_the_host_that_it_lies_in(tmp_path: Path) -> None:
    table = flare23()
    liver, kidney, tumor = (table[name].id for name in ("liver", "right_kidney", "tumor"))
    found = np.zeros((8, 8, 20), np.uint8)
    found[:, :, :8], found[:, :, 12:] = liver, kidney
    truth = found.copy()
    found[2:4, 2:4, 2:4], found[4:6, 4:6, 15:18] = tumor, tumor
    truth[2:4, 2:4, 2:5] = tumor
    for name, labels in (("found", found), ("truth", truth)):
        write_labels(
            tmp_path / name / "a.nii.gz",
            Volume(labels, Grid(labels.shape, np.diag([5.0, 5.0, 5.0, 1.0]))),
        )
    case = Case("a", tmp_path / "a.nii.gz", tmp_path / "truth" / "a.nii.gz", role="test")
    hosts = ("liver", "right_kidney")
    patient = lesions._found_in(case, {0.5: tmp_path / "found"}, table, hosts=hosts)
    assert patient.truth == 12
    pieces = patient.pieces[0.5]
    assert [(one.host, one.voxels, one.right) for one in pieces] == [
        ("liver", 8, 8),
        ("right_kidney", 12, 0),
    ]
    assert [one.ml for one in pieces] == pytest.approx([1.0, 1.5])
