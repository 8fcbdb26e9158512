from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from nnstudent.training.augmentation import initial_patch, training_transforms
from nnstudent.training.loading import Prefetch
from nnstudent.training.preset import load_preset
from nnstudent.training.recipe import AUGMENTATIONS, Augmentation
from tests.training.conftest import tiny_recipe


def test_what_is_drawn_ahead_comes_in_order() -> None:
    ahead = Prefetch(itertools.count(), ahead=3)
    assert [next(ahead) for _ in range(20)] == list(range(20))
    ahead.close()
    assert not any(thread.name == "augmentation" for thread in threading.enumerate())


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
    done = training_transforms(recipe, [[1, 1, 1], [0.5, 0.5, 0.5]])(image=image, segmentation=labels)
    assert tuple(done["image"].shape) == (1, *recipe.data.patch)
    assert [tuple(part.shape) for part in done["segmentation"]] == [(1, 16, 24, 24), (1, 8, 12, 12)]
    assert set(torch.unique(done["segmentation"][0]).tolist()) <= {0, 1, 2}
    plain = training_transforms(tiny_recipe(augment=()), None)(image=before, segmentation=_window(initial_patch(recipe))[1])
    assert not torch.equal(done["image"], plain["image"])
    assert 0 < p < 1


@pytest.mark.parametrize("preset", ["demo", "laptop"])
def test_left_stays_left(preset: str) -> None:
    """Whatever is drawn, what is bright and labeled on the left is found on the left, under its own label."""
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    training = load_preset(preset).student.training
    certain = tuple(replace(item, p=1.0) if item.name in ("rotation", "scaling", "elastic") else item for item in training.augment)
    recipe = tiny_recipe(augment=certain)
    for _ in range(10):
        image, labels = _window(initial_patch(recipe))
        done = training_transforms(recipe, None)(image=image, segmentation=labels)
        left, right = (np.argwhere(done["segmentation"][0].numpy() == channel)[:, 2].mean() for channel in (1, 2))
        assert left < right
        inside = done["image"][0][done["segmentation"][0] == 1].mean()
        assert inside > done["image"][0][done["segmentation"][0] == 2].mean()


def _window(size: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image, labels = torch.randn(1, *size, generator=generator) * 0.05, torch.zeros(1, *size, dtype=torch.int16)
    z, y, x = (n // 2 for n in size)
    for channel, centre, value in ((1, x - 5, 2.0), (2, x + 5, -2.0)):
        image[0, z - 3 : z + 3, y - 3 : y + 3, centre - 3 : centre + 3] += value
        labels[0, z - 3 : z + 3, y - 3 : y + 3, centre - 3 : centre + 3] = channel
    return image, labels
