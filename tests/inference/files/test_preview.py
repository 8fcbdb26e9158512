from __future__ import annotations

import numpy as np
from PIL import Image

from nnstudent.inference.files.preview import draw_plane, write_preview
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
    near = np.abs(np.asarray(picture).astype(int) - (np.array(color) + 127) // 2).max(axis=-1) < 40
    rows, columns = np.nonzero(near)
    return rows.mean() / picture.height, columns.mean() / picture.width


def test_it_hangs_as_radiologists_hang_it():
    image, labels = scene()
    liver = flare23()["liver"]
    for axis in range(3):
        picture = draw_plane(
            image, labels, [liver], axis=axis, index=(15, 24, 34)[axis], longest=420
        )
        row, column = center(picture, liver.color)
        assert row < 0.4, "front or head is on top"
        assert column < 0.4, "the patient's right, or front, is on the left"
        mm = [
            n * s
            for k, (n, s) in enumerate(zip(image.grid.shape, image.spacing_mm, strict=True))
            if k != axis
        ]
        assert abs(picture.width / picture.height - mm[1] / mm[0]) < 0.02


def test_a_picture_is_written_whatever_is_in_it(tmp_path):
    image, labels = scene()
    write_preview(
        tmp_path / "some.png",
        image.reoriented("LPI"),
        labels.reoriented("LPI"),
        flare23(),
        title="case",
    )
    write_preview(tmp_path / "same.png", image, labels, flare23(), title="case")
    write_preview(
        tmp_path / "none.png", image, Volume(np.zeros_like(labels.array), labels.grid), flare23()
    )
    assert (tmp_path / "some.png").read_bytes() == (tmp_path / "same.png").read_bytes()
    assert Image.open(tmp_path / "none.png").size[0] > 1000
