"""Organs: how large they are, and where they lie."""

from __future__ import annotations

import numpy as np

from nnstudent.phantom import PhantomCase
from tests.phantom.conftest import IDS

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


def _center_mm(case: PhantomCase, name: str) -> np.ndarray:
    at = np.argwhere(case.organs.array == IDS[name]).mean(0)[::-1]
    return case.organs.grid.affine[:3, :3] @ at + case.organs.grid.affine[:3, 3]


def test_all_organs_have_plausible_sizes(abdomens):
    for case in abdomens:
        for name, (least, most) in PLAUSIBLE_ML.items():
            ml = float((case.organs.array == IDS[name]).sum() * case.organs.grid.voxel_ml)
            assert least <= ml <= most, f"{name} of {ml:.1f} ml"


def test_sizes_differ_between_patients(abdomens):
    for name in ("liver", "spleen", "stomach", "pancreas"):
        sizes = [
            float((case.organs.array == IDS[name]).sum()) * case.organs.grid.voxel_ml
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


def test_small_organs_touch_large_ones(abdomens):
    touching = {"pancreas": 0, "duodenum": 0, "right_adrenal_gland": 0}
    for case in abdomens:
        for name in touching:
            organ = case.organs.array == IDS[name]
            rim = np.zeros_like(organ)
            for axis in range(3):
                rim |= np.roll(organ, 1, axis) | np.roll(organ, -1, axis)
            touching[name] += bool(np.any(case.organs.array[rim & ~organ] > 0))
    assert touching["pancreas"] >= 4
    assert touching["duodenum"] >= 4
