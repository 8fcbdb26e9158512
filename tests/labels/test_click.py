"""A click adds or removes what a person means, near the click only, in under a second."""

from __future__ import annotations

import time

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.labels.click import Click, correct_by_click
from nnstudent.volume import Grid, Volume

pytest.importorskip("skimage", reason="the extra [web] is not installed")
LIVER, SPLEEN, GALLBLADDER = 1, 3, 9


def scene(spacing: float = 2.0) -> tuple[Volume, Volume]:
    """A bright ball, dark beside a gray block, all noisy; the true labels."""
    z, y, x = np.ogrid[:40, :60, :60]
    truth = np.zeros((40, 60, 60), np.uint8)
    truth[5:35, 5:55, 5:35] = LIVER
    truth[(z - 20) ** 2 + (y - 30) ** 2 + (x - 38) ** 2 <= 8**2] = GALLBLADDER
    image = np.choose(np.searchsorted([0, LIVER, GALLBLADDER], truth), [-90, 110, 10])
    noisy = image + np.random.default_rng(0).normal(0, 10, image.shape)
    grid = Grid(truth.shape, np.diag([spacing, spacing, spacing, 1.0]))
    return Volume(noisy.astype(np.int16), grid), Volume(truth, grid)


def dice(one: Volume, other: Volume, id: int) -> float:
    a, b = one.array == id, other.array == id
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_click_finds_an_organ_that_was_taken_for_another() -> None:
    image, truth = scene()
    wrong = Volume(np.where(truth.array == GALLBLADDER, LIVER, truth.array), truth.grid)
    fixed = correct_by_click(image, wrong, Click((20, 30, 38)), id=GALLBLADDER)
    assert dice(fixed, truth, GALLBLADDER) > 0.9
    assert dice(fixed, truth, LIVER) > 0.98
    assert (wrong.array == GALLBLADDER).sum() == 0, "what was given stays as it is"


def test_a_click_removes_a_wrong_piece_and_leaves_the_organ() -> None:
    image, truth = scene()
    wrong = truth.array.copy()
    wrong[2:8, 50:58, 50:58] = GALLBLADDER
    fixed = correct_by_click(
        image, Volume(wrong, truth.grid), Click((5, 54, 54), add=False), id=GALLBLADDER
    )
    assert np.array_equal(fixed.array, truth.array)


def test_a_click_takes_from_no_organ_that_was_not_clicked_at() -> None:
    image, truth = scene()
    # The organ is missing, and half of what looks like it is another one's by right.
    half = np.where(truth.array == GALLBLADDER, 0, truth.array)
    theirs = truth.array == GALLBLADDER
    theirs[..., : int(np.argwhere(theirs)[:, 2].mean())] = False
    half[theirs] = SPLEEN
    at = np.argwhere((truth.array == GALLBLADDER) & ~theirs)
    place = tuple(int(i) for i in at[len(at) // 2])
    fixed = correct_by_click(image, Volume(half, truth.grid), Click(place), id=GALLBLADDER)
    assert (fixed.array[theirs] == SPLEEN).all()
    assert (fixed.array == GALLBLADDER).sum() > 0.5 * len(at)


def test_a_click_leaves_something_of_an_organ_that_has_no_other_piece() -> None:
    image, truth = scene()
    at = np.argwhere(truth.array == GALLBLADDER)
    place = tuple(int(i) for i in at[0])
    click = Click(place, add=False)
    part = correct_by_click(image, truth, click, id=GALLBLADDER, reach_mm=60)
    left = int((part.array == GALLBLADDER).sum())
    assert 0 < left < len(at)
    assert part.array[place] == 0
    whole = correct_by_click(image, truth, click, id=GALLBLADDER, reach_mm=60, elsewhere=True)
    assert not (whole.array == GALLBLADDER).any()


def test_a_click_removes_only_the_part_around_it() -> None:
    image, truth = scene(3.0)
    click = Click((10, 10, 8), add=False)
    fixed = correct_by_click(image, truth, click, id=LIVER, reach_mm=20)
    gone = (truth.array == LIVER) & (fixed.array == 0)
    assert fixed.array[10, 10, 8] == 0
    assert 0 < gone.sum() < 0.1 * (truth.array == LIVER).sum()
    far = np.argwhere(gone) - [10, 10, 8]
    assert np.sqrt((far**2).sum(axis=1)).max() * 3 <= 20


def test_a_fine_scan_takes_less_than_a_second() -> None:
    image, truth = scene()
    fine = [
        Volume(
            volume.array.repeat(3, axis=1).repeat(3, axis=2),
            Grid((40, 180, 180), np.diag([0.7, 0.7, 2.0, 1.0])),
        )
        for volume in (image, truth)
    ]
    wrong = Volume(np.where(fine[1].array == GALLBLADDER, 0, fine[1].array), fine[1].grid)
    began = time.process_time()
    fixed = correct_by_click(fine[0], wrong, Click((20, 91, 115)), id=GALLBLADDER)
    assert time.process_time() - began < 1.5
    assert dice(fixed, fine[1], GALLBLADDER) > 0.85


@pytest.mark.parametrize(
    ("click", "how", "error"),
    [
        (Click((99, 0, 0)), {}, r"a click at voxel \(99, 0, 0\); expected \(z, y, x\) inside"),
        (Click((-1, 0, 0)), {}, "inside the image of 40×60×60 voxels"),
        (Click((1, 1, 1)), {"id": 0}, "a click for id 0; expected a class"),
        (Click((1, 1, 1)), {"reach_mm": 0.0}, "a reach of 0.0 mm; expected more than 0"),
        (Click((1, 1, 1), add=False), {}, r"voxel \(1, 1, 1\) is not labeled 9; click at"),
    ],
)
def test_clicks_that_mean_nothing_are_refused(click: Click, how: dict, error: str) -> None:
    image, truth = scene()
    with pytest.raises(InputError, match=error):
        correct_by_click(image, truth, click, **{"id": GALLBLADDER, **how})
