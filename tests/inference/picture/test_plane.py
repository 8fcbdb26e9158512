from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nnstudent.inference.picture.plane import draw_plane
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume


def scene() -> tuple[Volume, Volume]:
    """RAS; liver at the patient's right, front and top; spleen at the left, back and bottom."""
    grid = Grid((20, 30, 40), np.diag([2.0, 3.0, 5.0, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[12:18, 20:28, 30:38] = 1
    labels[2:6, 2:6, 2:8] = 3
    return Volume(np.full(grid.shape, 40, np.int16), grid), Volume(labels, grid)


def center(picture: Image.Image, color: tuple[int, int, int]) -> tuple[float, float]:
    """Where a color is: share of the height and width."""
    near = np.abs(np.asarray(picture).astype(int) - np.array(color)).max(axis=-1) < 4
    rows, columns = np.nonzero(near)
    return rows.mean() / picture.height, columns.mean() / picture.width


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_it_hangs_as_radiologists_hang_it(axis):
    image, labels = scene()
    liver = flare23()["liver"]
    picture = draw_plane(image, labels, [liver], axis=axis, index=(15, 24, 34)[axis], longest=420)
    row, column = center(picture, liver.color)  # its outline
    assert row < 0.4, "front or head is on top"
    assert column < 0.4, "the patient's right, or front, is on the left"
    mm = [
        n * s
        for k, (n, s) in enumerate(zip(image.grid.shape, image.spacing_mm, strict=True))
        if k != axis
    ]
    assert abs(picture.width / picture.height - mm[1] / mm[0]) < 0.02


def test_the_anatomy_is_seen_through_the_fill_and_the_outline_lies_inside():
    image, labels = scene()
    table = flare23()
    bare = np.asarray(draw_plane(image, labels, [], axis=0, index=15, longest=400)).astype(int)
    assert np.ptp(bare) == 0, "only uniform tissue"
    liver = table["liver"]
    picture = np.asarray(
        draw_plane(image, labels, [liver], axis=0, index=15, longest=400, outline=2)
    ).astype(int)
    changed = np.abs(picture - bare).max(axis=2) > 0
    assert abs(changed.mean() - 64 / 1200) < 0.003, "no pixel outside of the organ"
    solid = (picture == liver.color).all(axis=2)
    assert 0.05 < solid.sum() / changed.sum() < 0.3
    blend = picture[changed & ~solid].mean(axis=0)
    assert np.allclose(blend, 0.4 * np.array(liver.color) + 0.6 * bare[0, 0], atol=2)
