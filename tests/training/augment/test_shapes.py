"""Shapes of painted lesions."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.training.augment.physiology import LESIONS, LOOK_ALIKES, Kind
from nnstudent.training.augment.shapes import REACH, draw_shape, smooth_noise

LOBED = next(kind for kind in LESIONS if kind.lobed >= 0.5)
KINDS = [LOBED, *(kind for kind in LOOK_ALIKES if kind.shape != "ball")]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_shape_is_cut_straight_by_its_box(kind: Kind) -> None:
    diameter, space = 20.0, np.array([2.0, 1.0, 1.0])
    reach = REACH[kind.shape] * diameter / 2
    size = [2 * int(np.ceil(reach / mm)) + 3 for mm in space]
    centre = np.array([(n - 1) / 2 * mm for n, mm in zip(size, space, strict=True)])
    for seed in range(30):
        rng = np.random.default_rng(seed)
        inside = draw_shape(kind, diameter, centre, size, space, rng) > 0
        assert inside.any()
        for axis in range(3):
            assert not inside.take([0, -1], axis).any()


def test_a_ball_has_about_the_volume_of_its_diameter() -> None:
    kind = next(kind for kind in LESIONS if kind.name == "metastasis")
    space = np.ones(3)
    volumes = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        centre = np.full(3, 40.0)
        inside = draw_shape(kind, 30.0, centre, [81, 81, 81], space, rng) > 0
        volumes.append(float(inside.sum()))
    assert 0.6 < np.median(volumes) / (np.pi / 6 * 30**3) < 1.3


def test_smooth_noise_has_deviation_1_and_varies_slowly() -> None:
    rng = np.random.default_rng(0)
    noise = smooth_noise([40, 40, 40], np.ones(3), 10.0, rng)
    assert noise.std() == pytest.approx(1.0)
    assert np.abs(np.diff(noise, axis=2)).mean() < 0.3
