"""Shapes whose pieces, holes, place and contacts are known."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.inference.quality.shapes import coarsen, noise_hu, shape_features
from nnstudent.volume import Grid, Volume


def scan(labels: np.ndarray, spacing: float = 2.5) -> tuple[Volume, Volume]:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (-20, 10, 5)
    grid = Grid(labels.shape, affine)
    image = np.where(labels == 1, 100, np.where(labels == 3, 60, -1000)).astype(np.int16)
    return Volume(image, grid), Volume(labels, grid)


def ball(radius: int, size: int = 40) -> np.ndarray:
    z, y, x = (axis - size // 2 for axis in np.ogrid[:size, :size, :size])
    inside: np.ndarray = z**2 + y**2 + x**2 <= radius**2
    return inside.astype(np.uint8)


def test_a_ball_is_one_smooth_piece_without_holes() -> None:
    liver = shape_features(coarsen(*scan(ball(14))))[1]
    assert (liver["pieces"], liver["largest"], liver["holes"], liver["contact"]) == (1, 1, 0, 0)
    assert liver["roughness"] == pytest.approx(1, abs=0.05)
    assert (liver["mean_hu"], liver["sd_hu"]) == (100, 0)
    place = [liver[name] for name in ("right_mm", "front_mm", "up_mm")]
    np.testing.assert_allclose(place, np.array([-20, 10, 5]) + 2.5 * 20)


def test_pieces_holes_and_contacts_are_seen() -> None:
    labels = ball(14)
    labels[19:22, 19:22, 19:22] = 0
    labels[1:3, 1:3, 1:3] = 1
    labels[:, :, 20:][labels[:, :, 20:] == 1] = 3
    features = shape_features(coarsen(*scan(labels)))
    assert features[1]["pieces"] == 2
    assert features[1]["largest"] < 1
    assert features[3]["contact"] == pytest.approx(features[1]["contact"], abs=0.1)
    assert features[3]["contact"] > 0.2
    whole = ball(14)
    whole[19:22, 19:22, 19:22] = 0
    assert shape_features(coarsen(*scan(whole)))[1]["holes"] == pytest.approx(
        27 / whole.sum(), rel=1e-6
    )


def test_a_fine_scan_is_measured_as_a_coarse_one() -> None:
    fine = ball(14).repeat(3, axis=0).repeat(3, axis=1).repeat(3, axis=2)
    coarse = coarsen(*scan(fine, 2.5 / 3))
    assert coarse.labels.shape == (40, 40, 40)
    one, other = shape_features(coarse)[1], shape_features(coarsen(*scan(ball(14))))[1]
    for name in ("roughness", "pieces", "mean_hu"):
        assert one[name] == pytest.approx(other[name])
    assert one["up_mm"] == pytest.approx(other["up_mm"], abs=2.5)


def test_noise_is_that_inside_organs() -> None:
    image, labels = scan(ball(14))
    noisy = image.array + np.random.default_rng(0).normal(0, 12, image.array.shape)
    found = noise_hu(coarsen(Volume(noisy.astype(np.int16), image.grid), labels))
    assert found == pytest.approx(12, rel=0.1)
    nothing = np.zeros((5, 5, 5), np.uint8)
    assert np.isnan(noise_hu(coarsen(*scan(nothing))))
    assert shape_features(coarsen(*scan(nothing))) == {}
