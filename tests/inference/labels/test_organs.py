"""What is measured of each organ."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.inference.labels.organs import organ_facts
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume


def test_touching_the_border():
    array = np.zeros((4, 5, 6), np.uint8)
    array[1:3, 2, 2], array[1, 1, 5] = 1, 3
    grid = Grid(array.shape, np.diag([10.0, 10.0, 10.0, 1.0]))
    noise = np.random.default_rng(0).normal(40, 20, array.shape).astype(np.int16)
    facts = organ_facts(
        Volume(noise, grid),
        Volume(array, grid),
        taxonomy=flare23(),
        confidence={"liver": 0.9, "spleen": 0.8, "aorta": 0.7},
    )
    assert facts["liver"].volume_ml == pytest.approx(2.0)
    assert (facts["liver"].touches_border, facts["liver"].confidence) == (False, 0.9)
    assert facts["spleen"].touches_border
    assert (facts["aorta"].volume_ml, facts["aorta"].touches_border, facts["aorta"].confidence) == (
        0.0,
        False,
        None,
    )
