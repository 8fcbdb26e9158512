"""A box around a click is segmented again, as the whole scan would be."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from nnstudent.errors import InputError
from nnstudent.labels.click import Click, correct_by_click
from nnstudent.volume import Grid, Volume
from nnstudent.web.datastore.clicks import MOST_VOXELS, BoxIn, segment_box

pytest.importorskip("skimage", reason="the extra [web] is not installed")
SPACING = (3.0, 1.5, 1.5)
CENTER = (16, 40, 40)
REACH = 18.0


def scan() -> tuple[Volume, Volume]:
    """A dark ball in gray, of which the labels have the middle."""
    grid = Grid((32, 80, 80), np.diag([*reversed(SPACING), 1.0]))
    places = np.indices(grid.shape).reshape(3, -1).T - CENTER
    away = np.linalg.norm(places * SPACING, axis=1).reshape(grid.shape)
    noise = np.random.default_rng(0).normal(0, 8, grid.shape)
    image = np.where(away < 12, 10, 110) + noise
    labels = (away < 5).astype(np.uint8)
    return Volume(image.astype(np.int16), grid), Volume(labels, grid)


def sent(image: Volume, labels: Volume) -> bytes:
    return image.array.astype("<i2").tobytes() + labels.array.tobytes()


@pytest.mark.parametrize("add", [True, False])
def test_a_box_is_answered_as_the_whole_scan(add: bool) -> None:
    image, labels = scan()
    box = (slice(8, 25), slice(26, 55), slice(26, 55))
    part = Grid((17, 29, 29), image.grid.affine)
    click = BoxIn(shape=part.shape, spacing_mm=SPACING, voxel=(8, 14, 14), add=add, reach_mm=REACH)
    body = sent(Volume(image.array[box].copy(), part), Volume(labels.array[box].copy(), part))
    found = np.frombuffer(segment_box(click, body), np.uint8).reshape(part.shape)
    whole = correct_by_click(image, labels, Click(CENTER, add=add), id=1, reach_mm=REACH)
    assert (found == whole.array[box]).mean() > 0.995, "but for what is smoothed at the faces"
    assert abs(int(found.sum()) - int(labels.array.sum())) > 50, "something changed"


def test_other_organs_of_the_box_stay_and_are_not_returned() -> None:
    image, labels = scan()
    ids = labels.array.copy()
    beside = (np.indices(ids.shape)[2] > CENTER[2] + 4) & (ids == 0)
    ids[beside] = 7
    click = BoxIn(shape=ids.shape, spacing_mm=SPACING, voxel=CENTER, add=True, reach_mm=REACH)
    found = np.frombuffer(segment_box(click, sent(image, Volume(ids, image.grid))), np.uint8)
    found = found.reshape(ids.shape)
    assert set(np.unique(found)) == {0, 1}
    assert not found[beside].any()
    assert found.sum() > labels.array.sum()


def test_what_does_not_fit_is_refused() -> None:
    click = BoxIn(shape=(2, 3, 4), spacing_mm=SPACING, voxel=(0, 0, 0), add=True)
    with pytest.raises(InputError, match="a box of 10 bytes; its shape takes 72"):
        segment_box(click, bytes(10))
    outside = click.model_copy(update={"voxel": (0, 0, 4)})
    with pytest.raises(InputError, match=r"expected \(z, y, x\) inside the image"):
        segment_box(outside, bytes(72))
    with pytest.raises(InputError, match="not labeled"):
        segment_box(click.model_copy(update={"add": False}), bytes(72))
    with pytest.raises(InputError, match=f"at most {MOST_VOXELS}"):
        _ = click.model_copy(update={"shape": (200, 200, 200)}).size
    with pytest.raises(ValidationError):
        BoxIn(shape=(0, 3, 4), spacing_mm=SPACING, voxel=(0, 0, 0), add=True)
    with pytest.raises(ValidationError):
        BoxIn(shape=(2, 3, 4), spacing_mm=(float("nan"), 1, 1), voxel=(0, 0, 0), add=True)
