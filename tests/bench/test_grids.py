"""What a grid costs by itself."""

from __future__ import annotations

import numpy as np

from bench.grids import carried
from nnstudent.volume import Grid, Volume


def test_a_large_thing_comes_back_and_a_thin_one_does_not() -> None:
    labels = np.zeros((24, 40, 40), np.uint8)
    labels[4:20, 4:24, 4:24] = 1
    labels[4:20, 30, 30] = 2
    volume = Volume(labels, Grid(labels.shape, np.diag([2.0, 2.0, 2.0, 1.0])))
    np.testing.assert_array_equal(carried(volume, (2.0, 2.0, 2.0), [1, 2]), labels)
    coarse = carried(volume, (8.0, 8.0, 8.0), [1, 2])
    assert (
        2 * ((coarse == 1) & (labels == 1)).sum() / ((coarse == 1).sum() + (labels == 1).sum())
        > 0.85
    )
    assert not (coarse == 2).any()
