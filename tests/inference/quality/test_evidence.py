"""Sums over a network's scores equal what the whole array of probabilities says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnstudent.bundle.spec import Resampling
from nnstudent.inference.grid.preprocess import Frame
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.inference.quality.evidence import Evidence
from nnstudent.types import Float32Array
from nnstudent.volume import Grid

CLASSES = ("background", "liver", "spleen")


def scores_of(values: Float32Array, **other: object) -> ClassScores:
    _, z, y, x = values.shape
    grid = Grid((z, y, x), np.diag([2.0, 2.0, 2.0, 1.0]))
    frame = Frame(
        grid, "RAS", (0, 1, 2), (slice(0, z), slice(0, y), slice(0, x)), (2.0, 2.0, 2.0), (z, y, x)
    )
    scores = ClassScores(
        values, "logits", CLASSES, (0, 1, 3), (2.0, 2.0, 2.0), Resampling(1), frame
    )
    return replace(scores, **other)  # type: ignore[arg-type]


@pytest.fixture
def scores() -> ClassScores:
    values = 3 * np.random.default_rng(0).standard_normal((3, 6, 5, 7))
    return scores_of(values.astype(np.float32))


def features(scores: ClassScores) -> dict[str, dict[str, float]]:
    evidence = Evidence(3)
    evidence.add(scores)
    return evidence.features(CLASSES, voxel_ml=0.008)


def test_sums_equal_those_over_the_whole_array(scores: ClassScores) -> None:
    probability = scores.probabilities().values
    best = scores.values.argmax(0)
    for given in (scores, scores.probabilities()):
        liver = features(given)["liver"]
        own = probability[1][best == 1]
        entropy = -(own * np.log2(own) + (1 - own) * np.log2(1 - own))
        assert liver["confidence"] == pytest.approx(own.mean(), abs=1e-5)
        assert liver["soft_dice"] == pytest.approx(
            2 * own.sum() / (len(own) + probability[1].sum()), abs=1e-3
        )
        assert liver["doubtful"] == pytest.approx((own < 0.75).mean())
        assert liver["entropy"] == pytest.approx(entropy.mean(), abs=1e-4)
        assert liver["network_ml"] == pytest.approx(0.008 * len(own))
        assert np.isnan(liver["agreement"])


def test_slabs_give_the_same_as_all_at_once(scores: ClassScores) -> None:
    evidence = Evidence(3)
    evidence.add(replace(scores, values=scores.values[:, :3], slab=True))
    evidence.add(replace(scores, values=scores.values[:, 2:], slab=True, first=2))
    whole = features(scores)
    for name, row in evidence.features(CLASSES, voxel_ml=0.008).items():
        np.testing.assert_allclose(list(row.values()), list(whole[name].values()), rtol=1e-6)


def test_a_class_without_voxels_has_no_features(scores: ClassScores) -> None:
    values = scores.values.copy()
    values[0] += 100
    liver = features(replace(scores, values=values))["liver"]
    assert liver["network_ml"] == 0
    assert np.isnan(liver["confidence"])


def test_places_that_no_window_saw_are_no_doubt() -> None:
    values = np.zeros((3, 6, 20, 20), np.float32)
    values[0] = 1  # what the accumulator writes where no window was run
    values[:, 2:4, 5:9, 5:9] = np.array([-8, 8, -8], np.float32)[:, None, None, None]
    assert features(scores_of(values))["liver"]["soft_dice"] > 0.999


def test_regions_have_a_probability_each(scores: ClassScores) -> None:
    values = scores.values.copy()
    values[0] = 0
    own = (values[2] <= 0) & (values[1] > 0)
    liver = features(replace(scores, values=values, regions=True))["liver"]
    sigmoid = 1 / (1 + np.exp(-values[1][own]))
    assert liver["confidence"] == pytest.approx(sigmoid.mean(), abs=1e-5)


def test_windows_that_agree_and_windows_that_do_not(scores: ClassScores) -> None:
    same, apart = Evidence(3), Evidence(3)
    same.compare(5 * scores.values, scores.values)
    apart.compare(scores.values, scores.values[[0, 2, 1]])
    assert same.features(CLASSES, voxel_ml=1)["liver"]["agreement"] == 1
    assert apart.features(CLASSES, voxel_ml=1)["liver"]["agreement"] == 0
