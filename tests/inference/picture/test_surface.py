from __future__ import annotations

import numpy as np
import pytest

from nnstudent.inference.picture.choose import measure_sections
from nnstudent.inference.picture.surface import draw_surfaces
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume

TABLE = flare23()


def drawn(labels: np.ndarray, mm: tuple[float, float, float] = (2.0, 2.0, 2.0)) -> np.ndarray:
    volume = Volume(labels, Grid(labels.shape, np.diag([*mm[::-1], 1.0])))
    picture = draw_surfaces(volume, measure_sections(volume), TABLE.classes, size=(200, 160))
    assert picture.size == (200, 160)
    return np.asarray(picture).astype(float)


def ball(
    labels: np.ndarray, name: str, *, at: tuple[int, int, int], radius: float
) -> tuple[int, int, int]:
    distance = sum((axis - c) ** 2 for axis, c in zip(np.indices(labels.shape), at, strict=True))
    labels[distance <= radius**2] = TABLE[name].id
    return at


def place(picture: np.ndarray, name: str) -> tuple[float, float]:
    """Where a class's hue is: mean row and column."""
    color = np.array(TABLE[name].color, float)
    length = np.linalg.norm(picture, axis=2)
    cosine = picture @ (color / np.linalg.norm(color)) / np.maximum(length, 1)
    rows, columns = np.nonzero((cosine > 0.98) & (length > 40))
    assert len(rows) > 50, name
    return float(rows.mean()), float(columns.mean())


def test_the_right_is_on_the_left_and_the_head_on_top():
    labels = np.zeros((60, 60, 60), np.uint8)
    ball(labels, "right_kidney", at=(20, 30, 48), radius=9)
    ball(labels, "spleen", at=(45, 30, 12), radius=9)
    picture = drawn(labels)
    kidney, spleen = place(picture, "right_kidney"), place(picture, "spleen")
    assert kidney[1] < spleen[1] - 40
    assert spleen[0] < kidney[0] - 30


def test_what_is_in_front_hides_what_is_behind_but_lets_it_shine_through():
    labels = np.zeros((60, 90, 60), np.uint8)
    ball(labels, "aorta", at=(30, 15, 30), radius=8)
    alone = drawn(labels)
    ball(labels, "gallbladder", at=(30, 70, 30), radius=10)  # small, so all but solid, in front
    both = drawn(labels)
    assert np.count_nonzero(both[..., 1] > both[..., 0] + 20) > 500, "green"
    assert alone[..., 0].max() > 150
    front = drawn(np.where(labels == TABLE["gallbladder"].id, labels, np.uint8(0)))
    assert not np.array_equal(front, both)


def test_a_surface_is_lit_from_above():
    labels = np.zeros((60, 60, 60), np.uint8)
    ball(labels, "pancreas", at=(30, 30, 30), radius=20)
    picture = drawn(labels).sum(axis=2)
    rows = np.flatnonzero(picture.any(axis=1))
    column = picture[:, 100]
    assert column[rows[0] + 12] > 1.3 * column[rows[-1] - 12]


@pytest.mark.parametrize("mm", [(8.0, 0.7, 0.7), (0.5, 3.0, 3.0), (1.0, 1.0, 40.0)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 40), (30, 1, 1), (5, 6, 7)])
def test_any_shape_is_drawn(shape, mm):
    picture = drawn(np.ones(shape, np.uint8), mm)
    assert picture.max() > 40


def test_thin_organs_stay():
    labels = np.zeros((60, 60, 60), np.uint8)
    labels[20:40, 20:40, 30] = TABLE["left_adrenal_gland"].id  # 1 mm thin, seen from its edge
    assert np.count_nonzero(drawn(labels, (1.0, 1.0, 1.0)).sum(axis=2) > 60) > 200
    assert not drawn(np.zeros((10, 10, 10), np.uint8)).any()
