"""Patients as they are drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnstudent.phantom import PhantomCase, make_case, scan_patient
from nnstudent.phantom.acquisition import draw_scan, scan_presets
from nnstudent.phantom.patient import REMOVABLE, Patient, draw_patient, with_unusual_findings
from nnstudent.phantom.tissues import draw_tissues
from tests.phantom.conftest import IDS


def test_some_patients_have_no_gallbladder():
    drawn = {seed: draw_patient(np.random.default_rng(seed)).gallbladder for seed in range(60)}
    assert 2 <= sum(not has for has in drawn.values()) <= 15
    without = make_case(next(seed for seed, has in drawn.items() if not has), preset="tiny")
    assert not np.any(without.organs.array == IDS["gallbladder"])


@pytest.fixture(scope="module")
def usual() -> PhantomCase:
    patient = draw_patient(np.random.default_rng(7), tumor=False)
    return scanned(replace(patient, gallbladder=True, phase="portal", oral=False))


def scanned(patient: Patient) -> PhantomCase:
    preset = replace(
        scan_presets()["tiny"], size=64, spacing_mm=(5.7, 6.4), thickness_mm=(7.0, 7.0)
    )  # coarse, because every patient is drawn anew
    return scan_patient(patient, draw_scan(np.random.default_rng(3), preset, patient))


def test_unusual_findings_change_nothing_else_of_a_patient():
    for seed in range(20):
        usual = draw_patient(np.random.default_rng(seed))
        assert draw_patient(np.random.default_rng(seed), unusual=0.0) == usual
        found = draw_patient(np.random.default_rng(seed), unusual=1.0)
        assert found.ascites
        assert found.filling
        assert len(found.removed) == 1
        assert (found.cortex_hu > 0) == (usual.phase != "none")
        assert replace(found, removed=(), ascites=False, filling="", cortex_hu=0.0) == usual
    drawn = [with_unusual_findings(replace(usual, seed=seed), 0.25).removed for seed in range(400)]
    assert 70 <= sum(map(bool, drawn)) <= 130
    assert {name for removed in drawn for name in removed} == set(REMOVABLE)


@pytest.mark.parametrize("organ", REMOVABLE)
def test_a_removed_organ_is_in_neither_image_nor_truth(usual, organ):
    case = scanned(replace(usual.patient, removed=(organ,), lesions=("right_kidney", "liver")))
    assert not np.any(case.organs.array == IDS[organ])
    others = set(np.unique(usual.organs.array)) - {IDS[organ]}
    assert others <= set(np.unique(case.organs.array))
    place = usual.organs.array == IDS[organ]
    assert case.image.array[place].mean() < usual.image.array[place].mean() - 5


def test_ascites_takes_the_place_of_fat_and_is_no_organ(usual):
    case = scanned(replace(usual.patient, ascites=True))
    np.testing.assert_array_equal(case.organs.array, usual.organs.array)
    changed = (case.image.array > usual.image.array + 60) & (usual.organs.array == 0)
    assert changed.sum() * case.image.grid.voxel_ml > 200
    assert -30 < np.median(case.image.array[changed]) < 60


def test_a_full_stomach_is_large_and_holds_what_it_is_full_of(usual):
    case = scanned(replace(usual.patient, filling="contrast"))
    stomach = case.organs.array == IDS["stomach"]
    assert stomach.sum() >= (usual.organs.array == IDS["stomach"]).sum()
    before = usual.image.array[usual.organs.array == IDS["stomach"]]
    assert np.percentile(case.image.array[stomach], 90) > np.percentile(before, 95) + 10


def test_a_bright_cortex_is_brighter_by_as_much(usual):
    bright = draw_tissues(replace(usual.patient, cortex_hu=50.0))
    assert bright["kidney"].hu == draw_tissues(usual.patient)["kidney"].hu + 50.0
