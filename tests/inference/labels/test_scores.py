from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnstudent.bundle.spec import Resampling
from nnstudent.errors import GeometryError, InputError
from nnstudent.inference.grid.preprocess import Frame
from nnstudent.inference.labels.scores import ClassScores, best_channel, mean_scores
from nnstudent.volume import Grid


@pytest.fixture
def scores() -> ClassScores:
    grid = Grid((4, 5, 6), np.diag([2.0, 2.0, 2.0, 1.0]))
    frame = Frame(
        grid, "RAS", (0, 1, 2), (slice(0, 4), slice(0, 5), slice(0, 6)), (2.0, 2.0, 2.0), (4, 5, 6)
    )
    values = 3 * np.random.default_rng(0).standard_normal((3, 4, 5, 6)).astype(np.float32)
    return ClassScores(
        values,
        "logits",
        ("background", "liver", "spleen"),
        (0, 1, 3),
        (2.0, 2.0, 2.0),
        Resampling(1),
        frame,
        7,
    )


def test_probabilities_are_softmax(scores):
    e = np.exp(scores.values.astype(np.float64))
    probabilities = scores.probabilities()
    np.testing.assert_allclose(probabilities.values, e / e.sum(0), atol=1e-6)
    assert probabilities.probabilities() is probabilities
    np.testing.assert_array_equal(best_channel(scores.values), scores.values.argmax(0))


def test_the_first_of_equals_is_best():
    assert (best_channel(np.zeros((3, 2, 2, 2), np.float32)) == 0).all()


def test_of_regions_the_last_above_the_background_is_taken(scores):
    values = scores.values.copy()
    values[0] = 0
    regions = replace(scores, values=values, regions=True)
    expected = np.where(values[2] > 0, 2, np.where(values[1] > 0, 1, 0))
    probabilities = regions.probabilities()
    np.testing.assert_allclose(probabilities.values, 1 / (1 + np.exp(-values)), atol=1e-6)
    for given in (regions, probabilities):
        np.testing.assert_array_equal(best_channel(given.values, regions=True), expected)


def test_the_mean_of_an_ensemble(scores):
    other = replace(scores, values=scores.values[::-1].copy())
    before = scores.values.copy()
    mean = mean_scores(iter([scores, other]))
    np.testing.assert_allclose(mean.values, (scores.values + other.values) / 2, atol=1e-6)
    assert mean.windows == 14
    np.testing.assert_array_equal(scores.values, before)


def test_what_does_not_belong_together_is_not_averaged(scores):
    with pytest.raises(InputError, match="averaged"):
        mean_scores([scores, scores.probabilities()])
    with pytest.raises(InputError, match="no scores"):
        mean_scores([])
    with pytest.raises(GeometryError, match="expected 3 classes"):
        replace(scores, values=scores.values[:2])
