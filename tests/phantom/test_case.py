"""The anatomy of phantoms: what a radiologist would check first."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnstudent.errors import InputError
from nnstudent.phantom import PhantomCase, make_case
from nnstudent.phantom.acquisition import AXCODES, draw_scan, scan_presets, to_stored_axes
from nnstudent.phantom.patient import HOSTS, draw_patient
from nnstudent.phantom.tissues import LEAST_CONTRAST_HU, draw_tissues
from nnstudent.taxonomy import flare23

SEEDS = range(40, 45)
# Smallest and largest plausible volume in ml in an adult abdomen; vessels as far as in view.
PLAUSIBLE_ML = {
    "liver": (900, 2600),
    "right_kidney": (80, 330),
    "spleen": (60, 550),
    "pancreas": (18, 160),
    "aorta": (45, 220),
    "inferior_vena_cava": (35, 240),
    "right_adrenal_gland": (1, 14),
    "left_adrenal_gland": (1, 14),
    "esophagus": (4, 40),
    "stomach": (80, 1300),
    "duodenum": (25, 190),
    "left_kidney": (80, 330),
}


@pytest.fixture(scope="module")
def abdomens() -> list[PhantomCase]:
    return [make_case(seed, preset="tiny") for seed in SEEDS]


def _ids() -> dict[str, int]:
    return {item.name: item.id for item in flare23()}


def _center_mm(case: PhantomCase, name: str) -> np.ndarray:
    at = np.argwhere(case.organs.array == _ids()[name]).mean(0)[::-1]
    return case.organs.grid.affine[:3, :3] @ at + case.organs.grid.affine[:3, 3]


def _mean_hu(case: PhantomCase, name: str) -> float:
    return float(np.median(case.image.array[case.truth.array == _ids()[name]]))


def test_all_organs_have_plausible_sizes(abdomens):
    for case in abdomens:
        for name, (least, most) in PLAUSIBLE_ML.items():
            ml = float((case.organs.array == _ids()[name]).sum() * case.organs.grid.voxel_ml)
            assert least <= ml <= most, f"{name} of {ml:.1f} ml"


def test_sizes_differ_between_patients(abdomens):
    for name in ("liver", "spleen", "stomach", "pancreas"):
        sizes = [
            float((case.organs.array == _ids()[name]).sum()) * case.organs.grid.voxel_ml
            for case in abdomens
        ]
        assert np.std(sizes) > 0.05 * np.mean(sizes), name


def test_positions_of_organs(abdomens):
    for case in abdomens:
        at = {name: _center_mm(case, name) for name in PLAUSIBLE_ML}
        assert at["liver"][0] > at["aorta"][0] + 25 > at["spleen"][0] + 50  # right, middle, left
        assert (
            at["right_kidney"][0]
            > at["inferior_vena_cava"][0]
            > at["aorta"][0]
            > at["left_kidney"][0]
        )
        assert at["stomach"][0] < at["liver"][0]
        assert at["stomach"][1] > at["left_kidney"][1] + 15  # anterior
        assert at["right_adrenal_gland"][2] > at["right_kidney"][2] + 15  # above
        assert at["left_adrenal_gland"][2] > at["left_kidney"][2]
        assert at["esophagus"][2] > at["pancreas"][2] > at["right_kidney"][2]


def test_tissues_have_their_hu(abdomens):
    for case in abdomens:
        contrast = case.patient.phase != "none"
        assert (_mean_hu(case, "aorta") > 90) == contrast
        assert (_mean_hu(case, "right_kidney") > 70) == contrast
        assert -20 < _mean_hu(case, "liver") < 160
        assert case.image.array.min() < -900
        assert case.image.array.max() > 250  # bone
        assert np.median(case.image.array[case.image.array > -300]) < 90


def test_small_organs_touch_large_ones(abdomens):
    touching = {"pancreas": 0, "duodenum": 0, "right_adrenal_gland": 0}
    for case in abdomens:
        for name in touching:
            organ = case.organs.array == _ids()[name]
            rim = np.zeros_like(organ)
            for axis in range(3):
                rim |= np.roll(organ, 1, axis) | np.roll(organ, -1, axis)
            touching[name] += bool(np.any(case.organs.array[rim & ~organ] > 0))
    assert touching["pancreas"] >= 4
    assert touching["duodenum"] >= 4


def test_some_patients_have_no_gallbladder():
    drawn = {seed: draw_patient(np.random.default_rng(seed)).gallbladder for seed in range(60)}
    assert 2 <= sum(not has for has in drawn.values()) <= 15
    without = make_case(next(seed for seed, has in drawn.items() if not has), preset="tiny")
    assert not np.any(without.organs.array == _ids()["gallbladder"])


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**31))
def test_a_case_is_complete(seed):
    case = make_case(seed, preset="tiny", tumor=True)
    assert case.image.array.dtype == np.int16
    assert case.truth.array.dtype == np.uint8
    assert case.image.grid.matches(case.truth.grid)
    assert np.isfinite(case.image.grid.affine).all()
    assert set(np.unique(case.truth.array)) <= {0, *_ids().values()}
    lesion = case.truth.array == 14
    assert lesion.any()
    assert np.array_equal(np.where(lesion, case.organs.array, case.truth.array), case.organs.array)
    hosts = {_ids().get(host, 0) for host in case.patient.lesions}
    assert (
        np.isin(case.organs.array[lesion], list(hosts)).mean() > 0.97
    )  # the edge is cut at the resolution of the voxels


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(codes=st.sampled_from(AXCODES))
def test_reoriented_axes_show_the_same_patient(codes):
    case = make_case(44, preset="tiny")
    turned = to_stored_axes(case.organs.reoriented().array, replace(case.scan, axcodes=codes))
    assert turned.grid.axcodes == codes
    assert np.array_equal(turned.reoriented().array, case.organs.reoriented().array)
    assert np.allclose(turned.reoriented().grid.affine, case.organs.reoriented().grid.affine)


def test_the_number_of_threads_changes_no_voxel():
    code = (
        "import zlib; from nnstudent.phantom import make_case; c = make_case(44, preset='tiny');"
        "print(zlib.crc32(c.image.array), zlib.crc32(c.truth.array))"
    )
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | dict.fromkeys(names, n),
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for n in ("1", "3")
    }
    assert len(said) == 1


def test_some_scans_cut_organs_and_some_are_tilted():
    scans = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scans.append(draw_scan(rng, scan_presets()["standard"], draw_patient(rng)))
    assert 10 < sum(not scan.whole for scan in scans) < 50
    assert 0 < sum(scan.tilt_deg != (0, 0, 0) for scan in scans) < 25
    assert len({scan.axcodes for scan in scans}) > 8
    assert min(scan.spacing_mm[0] for scan in scans) < 1.6
    assert max(scan.spacing_mm[0] for scan in scans) <= 5.0


def test_an_unknown_preset_is_one_line():
    with pytest.raises(InputError, match=r"huge.*tiny"):
        make_case(0, preset="huge")
    with pytest.raises(InputError, match="1 slices"):
        make_case(0, preset="tiny", slices=1)


def test_lesions_have_contrast_and_lie_in_several_hosts() -> None:
    several = 0
    for seed in range(200):
        patient = draw_patient(np.random.default_rng(seed), tumor=True)
        several += len(set(patient.lesions)) > 1
        look = draw_tissues(patient)
        for host in HOSTS:
            tissue = {"right_kidney": "kidney", "left_kidney": "kidney", "colon": "bowel"}.get(
                host, host
            )
            lesion = look[f"lesion_{host}"].hu
            assert abs(lesion - look[tissue].hu) >= LEAST_CONTRAST_HU - 1e-6
            assert lesion >= 15
    assert 20 < several < 100
