"""The label table's colors: classes that touch are told apart, also by color-blind eyes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.taxonomy import flare23

color = pytest.importorskip("skimage.color", reason="comes with nnU-Net, of the extra [train]")

TABLE = flare23()
# Organs that touch or all but touch in somebody, by anatomy and in label maps of ten CT.
NEIGHBORS = """
liver: right_kidney spleen pancreas inferior_vena_cava right_adrenal_gland gallbladder esophagus stomach duodenum aorta
right_kidney: left_kidney inferior_vena_cava right_adrenal_gland duodenum gallbladder pancreas
spleen: pancreas left_adrenal_gland stomach left_kidney
pancreas: aorta inferior_vena_cava left_adrenal_gland stomach duodenum left_kidney gallbladder
aorta: inferior_vena_cava left_adrenal_gland esophagus duodenum stomach left_kidney
inferior_vena_cava: right_adrenal_gland duodenum esophagus
right_adrenal_gland: left_adrenal_gland duodenum
left_adrenal_gland: stomach left_kidney
gallbladder: stomach duodenum
esophagus: stomach
stomach: duodenum left_kidney
duodenum: left_kidney
"""
# Machado, Oliveira and Fernandes 2009, severity 1.0; for linear RGB.
BLINDNESS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def touching() -> set[frozenset[str]]:
    """Pairs of classes that touch; a tumor may touch every organ."""
    pairs = {frozenset((lesion, organ)) for lesion in TABLE.lesions for organ in TABLE.organs}
    for line in NEIGHBORS.strip().splitlines():
        name, others = line.split(": ")
        pairs |= {frozenset((TABLE[name].name, TABLE[other].name)) for other in others.split()}
    return pairs


def seen(rgb: tuple[int, int, int], kind: str | None) -> np.ndarray:
    """A color as CIELAB, as eyes of a kind see it."""
    value = np.array(rgb) / 255
    if kind is not None:
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        linear = np.clip(np.array(BLINDNESS[kind]) @ linear, 0, 1)
        value = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return color.rgb2lab(value)


def closest(pairs: set[frozenset[str]], kind: str | None) -> float:
    """The smallest CIEDE2000 difference of the pairs."""
    return min(
        float(color.deltaE_ciede2000(*(seen(TABLE[name].color, kind) for name in pair)))
        for pair in pairs
    )


def test_the_sides_are_told_apart_as_neighbors_are():
    for item in TABLE:
        if item.partner is not None:
            assert frozenset((item.name, item.partner)) in touching()


@pytest.mark.parametrize(
    ("kind", "least"),
    [(None, 20.0), ("protanopia", 15.0), ("deuteranopia", 15.0), ("tritanopia", 10.0)],
)
def test_classes_that_touch_are_told_apart(kind, least):
    assert closest(touching(), kind) >= least


@pytest.mark.parametrize(
    ("kind", "least"),
    [(None, 15.0), ("protanopia", 6.5), ("deuteranopia", 6.5), ("tritanopia", 6.5)],
)
def test_no_two_classes_look_the_same(kind, least):
    assert closest({frozenset(pair) for pair in combinations(TABLE.names, 2)}, kind) >= least


def test_no_class_is_gray_as_the_scan_is():
    for item in TABLE:
        lab = color.rgb2lab(np.array(item.color) / 255)
        assert np.hypot(lab[1], lab[2]) > 25, item.name
        assert 40 < lab[0] < 96, item.name


def test_the_bundled_student_has_the_tables_colors():
    assert {row.name: row.color for row in open_model(None).taxonomy} == {
        row.name: row.color for row in TABLE
    }
