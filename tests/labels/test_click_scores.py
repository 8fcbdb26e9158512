"""A click by the network's probabilities changes what was least decided, and nothing else."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage

from nnstudent.errors import GeometryError
from nnstudent.labels.click import UNSEEN, Click, correct_by_click
from nnstudent.labels.click_scores import UNDECIDED, coarsening
from nnstudent.volume import Grid, Volume

pytest.importorskip("skimage", reason="the extra [web] is not installed")
LIVER, SPLEEN, GALLBLADDER = 1, 3, 9
SHAPE, MIDDLE = (30, 40, 40), (15, 20, 20)
SURE, UNSURE, UNLIKELY = 250, 110, 3


def away(middle: tuple[int, int, int] = MIDDLE) -> np.ndarray:
    """Voxels from a place."""
    return np.sqrt(
        sum((axis - at) ** 2 for axis, at in zip(np.ogrid[:30, :40, :40], middle, strict=True))
    )


def volume(array: np.ndarray, spacing: float = 2.0) -> Volume:
    return Volume(array, Grid(array.shape, np.diag([spacing, spacing, spacing, 1.0])))


def scene(outer: int = UNSURE) -> tuple[Volume, Volume, Volume]:
    """A ball of which the labels have the left half; the network is ``outer`` about the right."""
    ball = away() <= 3
    left = ball & (np.indices(SHAPE)[2] < 19)
    image = np.where(ball, 10, 110) + np.random.default_rng(0).normal(0, 8, SHAPE)
    labels = np.where(left, GALLBLADDER, 0).astype(np.uint8)
    probability = np.select([left, ball], [SURE, outer], UNLIKELY).astype(np.uint8)
    return volume(image.astype(np.int16)), volume(labels), volume(probability)


def corrected(scene: tuple[Volume, Volume, Volume], click: Click, **how) -> np.ndarray:
    image, labels, probability = scene
    return correct_by_click(
        image, labels, click, id=GALLBLADDER, probability=probability, **how
    ).array


def test_a_click_adds_what_was_undecided_around_it():
    found = corrected(scene(), Click((15, 20, 21)))
    ball = away() <= 3
    assert not (found[~ball] == GALLBLADDER).any()
    assert (found[ball] == GALLBLADDER).mean() > 0.9


def test_what_was_decided_stays_but_around_the_click():
    _, labels, _ = scene()
    found = corrected(scene(UNLIKELY), Click((15, 20, 22)))
    gained = (found == GALLBLADDER) & (labels.array == 0)
    assert gained[15, 20, 22]
    assert 1 < gained.sum() < 60
    assert (away((15, 20, 22))[gained] <= 3).all()


def test_a_click_removes_what_was_undecided_around_it():
    image, _, probability = scene()
    labels = volume(np.where(away() <= 3, GALLBLADDER, 0).astype(np.uint8))
    found = corrected((image, labels, probability), Click((15, 20, 22), add=False))
    # But for its rim, which is nearer to the half of which the network is sure.
    right = (away() <= 3) & (np.indices(SHAPE)[2] >= 20)
    assert not (found[right] == GALLBLADDER).any()
    assert (found[probability.array == SURE] == GALLBLADDER).mean() > 0.95


def test_other_organs_give_only_what_was_undecided_of_them():
    image, labels, probability = scene()
    array = labels.array.copy()
    right = (away() <= 3) & (array == 0)
    array[right & (np.indices(SHAPE)[1] < 20)] = SPLEEN
    theirs = array == SPLEEN
    click = Click((15, 21, 21))
    assert UNDECIDED < UNSURE
    taken = corrected((image, volume(array), probability), click)
    assert (taken[theirs] == GALLBLADDER).mean() > 0.9
    doubted = np.where(theirs, UNDECIDED - 1, probability.array).astype(np.uint8)
    kept = corrected((image, volume(array), volume(doubted)), click)
    assert (kept[theirs] == SPLEEN).all()
    at = Click((15, 19, 21))  # on the spleen itself: it is wrong there
    assert corrected((image, volume(array), volume(doubted)), at)[at.voxel] == GALLBLADDER


@pytest.mark.parametrize("add", [True, False])
def test_what_changes_is_connected_and_within_reach(add):
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2)
    probability = volume(np.clip(128 + 900 * noise, 0, 255).astype(np.uint8))
    labels = volume(
        np.where((noise > 0) ^ (rng.random(SHAPE) < 0.02), GALLBLADDER, 0).astype(np.uint8)
    )
    own = labels.array == GALLBLADDER
    places = np.argwhere(own != add)
    place = tuple(int(at) for at in places[np.abs(places - MIDDLE).sum(axis=1).argmin()])
    image = volume(rng.normal(40, 20, SHAPE).astype(np.int16))
    found = corrected((image, labels, probability), Click(place, add=add), reach_mm=9.0)
    changed = found != labels.array
    assert changed[place]
    assert (found[changed] == (GALLBLADDER if add else 0)).all()
    assert (2.0 * away(place)[changed] <= 9.0).all()
    assert ndimage.label(changed)[1] == 1


def test_the_only_piece_never_goes_as_a_whole():
    image, _, _ = scene()
    unlikely = volume(np.full(SHAPE, UNLIKELY, np.uint8))
    small = np.where(away() <= 1.5, GALLBLADDER, 0).astype(np.uint8)
    click = Click(MIDDLE, add=False)
    found = corrected((image, volume(small), unlikely), click)
    assert found[MIDDLE] == 0
    assert (found == GALLBLADDER).any()
    gone = corrected((image, volume(small), unlikely), click, elsewhere=True)
    assert not (gone == GALLBLADDER).any()


def test_where_the_network_saw_nothing_the_image_decides_and_that_is_said():
    image, labels, _ = scene()
    none, nothing = volume(np.zeros(SHAPE, np.uint8)), volume(np.zeros(SHAPE, np.uint8))
    found = correct_by_click(image, none, Click(MIDDLE), id=GALLBLADDER, probability=nothing)
    assert found.warnings == (UNSEEN,)
    alone = correct_by_click(image, none, Click(MIDDLE), id=GALLBLADDER)
    assert alone.warnings == ()
    assert np.array_equal(found.array, alone.array)
    seen = correct_by_click(image, labels, Click(MIDDLE), id=GALLBLADDER, probability=nothing)
    assert seen.warnings == ()


def test_a_probability_on_another_grid_is_refused():
    image, labels, probability = scene()
    with pytest.raises(GeometryError, match="the probability"):
        corrected((image, labels, volume(probability.array[1:])), Click(MIDDLE))


def test_a_fine_scan_takes_less_than_a_second():
    image, labels, probability = (
        volume(item.array.repeat(4, 0).repeat(4, 1).repeat(4, 2), 0.5) for item in scene()
    )
    click = Click((61, 82, 85))
    began = time.process_time()
    found = corrected((image, labels, probability), click)
    assert time.process_time() - began < 1.5
    assert found[click.voxel] == GALLBLADDER
    ball = (away() <= 3).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    assert ((found == GALLBLADDER) & ball).sum() / ball.sum() > 0.9
    assert ((found == GALLBLADDER) & ~ball).sum() / ball.sum() < 0.05


def test_the_finest_axis_is_coarsened_first():
    assert coarsening((10, 10, 10), (1, 1, 1), most=1000) == [1, 1, 1]
    assert coarsening((10, 40, 40), (5.0, 1.0, 1.0), most=5000) == [1, 2, 2]
