from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nnstudent.errors import InputError
from nnstudent.pipeline.preset import load_preset
from nnstudent.training.augment.transforms import (
    initial_patch,
    training_transforms,
)
from nnstudent.training.data.loading import Prefetch, WindowLoader, draw_class
from nnstudent.training.recipe import AUGMENTATIONS, Augmentation
from tests.training.conftest import tiny_recipe


def test_lesions_are_drawn_as_often_as_the_recipe_says() -> None:
    locations = {1: [0], 2: [0], 3: [], 5: [0], (-1, 0, 1): [0]}
    np.random.seed(0)  # noqa: NPY002
    drawn = [draw_class(locations, lesions=[5], lesion_oversampling=6.0) for _ in range(4000)]
    shares = {key: drawn.count(key) / len(drawn) for key in set(drawn)}
    assert shares == pytest.approx({1: 1 / 8, 2: 1 / 8, 5: 6 / 8}, abs=0.03)
    assert draw_class({1: []}, lesions=[1], lesion_oversampling=6.0) is None
    with pytest.raises(InputError, match="lesion_oversampling = -1"):
        replace(tiny_recipe().data, lesion_oversampling=-1.0)


def test_windows_are_centered_on_the_classes_that_the_recipe_names() -> None:
    locations = {1: [0], 2: [0], 3: [], 5: [0]}
    np.random.seed(0)  # noqa: NPY002
    drawn = [
        draw_class(locations, lesions=[5], lesion_oversampling=2.0, focus=[1, 1, 3, 5])
        for _ in range(4000)
    ]
    assert {key: drawn.count(key) / len(drawn) for key in set(drawn)} == pytest.approx(
        {1: 1 / 2, 5: 1 / 2}, abs=0.03
    )
    elsewhere = {
        draw_class(locations, lesions=[5], lesion_oversampling=1.0, focus=[3]) for _ in range(50)
    }
    assert elsewhere == {1, 2, 5}, "none of them is in this case, so any class is"


def test_a_window_lies_around_the_class_that_was_drawn() -> None:
    cases = SimpleNamespace(identifiers=["a"])
    labels = SimpleNamespace(all_labels=[0, 1, 2], has_ignore_label=False)
    locations = {1: np.array([[0, 10, 10, 10]]), 2: np.array([[0, 40, 40, 40]])}

    def corners(**settings: object) -> list[list[int]]:
        loader = WindowLoader(cases, 1, [8, 8, 8], [8, 8, 8], labels, **settings)
        np.random.seed(3)  # noqa: NPY002
        return [
            [int(at) for at in loader.get_bbox((50, 50, 50), True, locations)[0]] for _ in range(20)
        ]

    assert corners(lesions=[2], lesion_oversampling=1e9) == [[36, 36, 36]] * 20
    assert corners(lesions=[2]) == corners()  # as ever, to the last number drawn
    assert {tuple(corner) for corner in corners()} == {(6, 6, 6), (36, 36, 36)}


def test_what_is_drawn_ahead_comes_in_order() -> None:
    others = set(threading.enumerate())
    ahead = Prefetch(itertools.count(), ahead=3)
    assert set(threading.enumerate()) - others
    assert [next(ahead) for _ in range(20)] == list(range(20))
    ahead.close()
    assert not set(threading.enumerate()) - others


def test_an_error_in_the_thread_reaches_who_draws() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("a broken window")

    ahead = Prefetch(source())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="a broken window"):
        next(ahead)
    ahead.close()


def test_closing_does_not_wait_for_a_full_queue() -> None:
    ahead = Prefetch(itertools.repeat(0), ahead=1)
    began = time.monotonic()
    ahead.close()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_keeps_shape_and_labels(name: str) -> None:
    p, low, high = AUGMENTATIONS[name]
    recipe = tiny_recipe(augment=(Augmentation(name, 1.0, low, high),))
    image, labels = _window(initial_patch(recipe))
    before = image.clone()
    done = training_transforms(recipe, [[1, 1, 1], [0.5, 0.5, 0.5]])(
        image=image, segmentation=labels
    )
    assert torch.equal(image, before)  # it may be the scan that is kept in memory
    assert tuple(done["image"].shape) == (1, *recipe.data.patch)
    assert [tuple(part.shape) for part in done["segmentation"]] == [(1, 16, 24, 24), (1, 8, 12, 12)]
    assert set(torch.unique(done["segmentation"][0]).tolist()) <= {0, 1, 2}
    plain = training_transforms(tiny_recipe(augment=()), None)(
        image=before, segmentation=_window(initial_patch(recipe))[1]
    )
    assert not torch.equal(done["image"], plain["image"])
    assert 0 < p < 1


@pytest.mark.parametrize("preset", ["demo", "laptop"])
def test_left_stays_left(preset: str) -> None:
    """In every window, what is bright and labeled on the left keeps its side and label."""
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    training = load_preset(preset).student.training
    certain = tuple(
        replace(item, p=1.0) if item.name in ("rotation", "scaling", "elastic") else item
        for item in training.augment
    )
    recipe = tiny_recipe(augment=certain)
    for _ in range(10):
        image, labels = _window(initial_patch(recipe))
        done = training_transforms(recipe, None)(image=image, segmentation=labels)
        left, right = (
            np.argwhere(done["segmentation"][0].numpy() == channel)[:, 2].mean()
            for channel in (1, 2)
        )
        assert left < right
        inside = done["image"][0][done["segmentation"][0] == 1].mean()
        assert inside > done["image"][0][done["segmentation"][0] == 2].mean()


def _window(size: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image, labels = (
        torch.randn(1, *size, generator=generator) * 0.05,
        torch.zeros(1, *size, dtype=torch.int16),
    )
    z, y, x = (n // 2 for n in size)
    for channel, centre, value in ((1, x - 5, 2.0), (2, x + 5, -2.0)):
        image[0, z - 3 : z + 3, y - 3 : y + 3, centre - 3 : centre + 3] += value
        labels[0, z - 3 : z + 3, y - 3 : y + 3, centre - 3 : centre + 3] = channel
    return image, labels
