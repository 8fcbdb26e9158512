"""A box around a click is segmented again, as the whole scan would be."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from nnstudent.errors import InputError
from nnstudent.inference.labels.probabilities import ProbabilityMaps
from nnstudent.inference.labels.stored_probabilities import (
    StoredProbabilities,
    store_probabilities,
)
from nnstudent.labels.click import Click, correct_by_click
from nnstudent.volume import Grid, Volume
from nnstudent.web.datastore.clicks import MOST_VOXELS, BoxIn, segment_box
from tests.inference.labels.test_probabilities import made

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
    found = np.frombuffer(segment_box(click, body).mask, np.uint8).reshape(part.shape)
    whole = correct_by_click(image, labels, Click(CENTER, add=add), id=1, reach_mm=REACH)
    assert (found == whole.array[box]).mean() > 0.995, "but for what is smoothed at the faces"
    assert abs(int(found.sum()) - int(labels.array.sum())) > 50, "something changed"


def test_other_organs_of_the_box_stay_and_are_not_returned() -> None:
    image, labels = scan()
    ids = labels.array.copy()
    beside = (np.indices(ids.shape)[2] > CENTER[2] + 4) & (ids == 0)
    ids[beside] = 7
    click = BoxIn(shape=ids.shape, spacing_mm=SPACING, voxel=CENTER, add=True, reach_mm=REACH)
    answer = segment_box(click, sent(image, Volume(ids, image.grid)))
    assert answer.by == "image"
    found = np.frombuffer(answer.mask, np.uint8)
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


@pytest.fixture
def segmented(tmp_path):
    """A scan that is stored otherwise, and the file of what a network says of it."""
    image = made()[2].reoriented("LIP")
    image = Volume(np.ascontiguousarray(image.array), image.grid)
    spec, scores, _ = made(image=image)
    maps = ProbabilityMaps(image.grid)
    maps.of_network(spec, scores.frame).add(scores)
    store_probabilities(tmp_path / "scores.zip", maps)
    return image.reoriented(), maps.probability("spleen").reoriented(), tmp_path / "scores.zip"


def test_the_probabilities_of_the_organ_decide_where_they_are_known(segmented, tmp_path):
    image, whole, path = segmented
    start, voxel = (6, 5, 4), (4, 6, 6)
    box = tuple(slice(first, first + size) for first, size in zip(start, (8, 12, 12), strict=True))
    part = image.cropped(box)
    own = np.zeros(part.array.shape, np.uint8)
    own[1:7, 2:10, 2:10] = 1
    click = BoxIn(
        shape=part.array.shape,
        spacing_mm=image.spacing_mm,
        voxel=voxel,
        add=False,
        organ=3,
        start=start,
    )
    body = sent(part, Volume(own, part.grid))
    answer = segment_box(click, body, scores=path, organ="spleen")
    assert answer.by == "scores"
    found = np.frombuffer(answer.mask, np.uint8).reshape(own.shape)
    known = StoredProbabilities(path).around("spleen", box)
    assert np.abs(known.astype(int) - whole.array[box]).max() <= 1
    expected = correct_by_click(
        Volume(part.array, part.grid),
        Volume(own, part.grid),
        Click(click.voxel, add=False),
        id=1,
        elsewhere=True,
        probability=Volume(known, part.grid),
    )
    assert np.array_equal(found, expected.array)
    assert found[click.voxel] == 0
    alone = segment_box(click, body)
    assert (alone.by, alone.mask != answer.mask) == ("image", True)
    # What is not known, not there or damaged leaves it to the image.
    (tmp_path / "damaged.zip").write_bytes(path.read_bytes()[:-100])
    for scores, organ in (
        (path, "hepatic_vein"),
        (tmp_path / "none.zip", "spleen"),
        (tmp_path / "damaged.zip", "spleen"),
    ):
        assert segment_box(click, body, scores=scores, organ=organ) == alone


def test_a_box_that_is_not_of_the_scan_is_refused(segmented):
    image, _, path = segmented
    inside = {"shape": (2, 3, 4), "voxel": (0, 0, 0), "spacing_mm": image.spacing_mm, "add": True}
    for wrong in ({"start": (image.grid.shape[0] - 1, 0, 0)}, {"spacing_mm": (1.0, 1.0, 1.0)}):
        click = BoxIn(**inside | wrong)
        with pytest.raises(InputError, match="expected one inside the scan"):
            segment_box(click, bytes(72), scores=path, organ="spleen")
