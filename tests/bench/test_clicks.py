"""The simulated user of bench.clicks clicks where the error is, and what clicks do is counted."""

from __future__ import annotations

import numpy as np
import pytest

from bench.clicks import Organ, clicked, largest_error, summary
from nnstudent.evaluation.metrics import dsc
from nnstudent.labels.click import Click
from nnstudent.volume import Grid, Volume

SPACING = (2.0, 1.0, 1.0)


def masks() -> tuple[np.ndarray, np.ndarray]:
    """What was found and the truth: a large piece is missing, a smaller one is too much."""
    truth = np.zeros((12, 20, 30), bool)
    truth[2:9, 4:15, 5:20] = True
    own = truth.copy()
    own[2:9, 4:15, 15:20] = False
    own[3:6, 3:8, 24:27] = True
    return own, truth


def test_the_user_clicks_in_the_middle_of_the_largest_error():
    own, truth = masks()
    assert largest_error(own, truth, SPACING) == Click((5, 9, 17), add=True)
    too_much = own.copy()
    too_much[truth] = True
    assert largest_error(too_much, truth, SPACING) == Click((4, 5, 25), add=False)
    assert largest_error(truth, truth, SPACING) is None


def test_each_click_is_scored():
    pytest.importorskip("skimage", reason="the extra [web] is not installed")
    own, truth = masks()
    grid = Grid(own.shape, np.diag([1.0, 1.0, 2.0, 1.0]))
    image = Volume(np.where(truth, 100, -100).astype(np.int16), grid)
    unsure = Volume(np.where(truth, 120, 10).astype(np.uint8), grid)
    organ = Organ("spleen", 3, image, Volume((3 * own).astype(np.uint8), grid), truth, unsure)
    for by in ("image", "scores"):
        scores, seconds = clicked(organ, by=by)
        assert scores[0] == pytest.approx(dsc(own, truth))
        assert (len(scores), 1 <= len(seconds) <= 3) == (4, True)
    assert scores[3] > 0.99


def test_worse_is_counted_by_click_and_in_the_end():
    found = summary([([0.5, 0.6, 0.55, 0.7], [0.1] * 3), ([0.6, 0.6, 0.5, 0.4], [0.3] * 3)])
    assert found["dice"] == [0.55, 0.6, 0.525, 0.55]
    assert (found["worse"], found["worse_in_the_end"]) == ([0, 2, 1], 1)
    assert found["seconds"] == {"mean": 0.2, "most": 0.3}
