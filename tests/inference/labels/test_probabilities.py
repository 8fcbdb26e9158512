"""Probabilities of all classes: as interpolated as labels are, whole or slab by slab."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnstudent.bundle.nnunet import from_nnunet
from nnstudent.inference.grid.resample import axis_orders, operator
from nnstudent.inference.labels.probabilities import ProbabilityMaps
from nnstudent.volume import Volume
from tests.inference.conftest import blobs
from tests.inference.folders import ANISOTROPIC, ISOTROPIC, dataset, plans
from tests.inference.grid.test_restore import CLASSES, scores_of


def made(plan=ISOTROPIC, *, regions: bool = False, image=None):
    data = dataset(CLASSES, regions=regions)
    spec, _ = from_nnunet(plans(plan), data, configuration="3d_fullres", name="m")
    if image is None:
        image = blobs((24, 20, 25), (5.0, 4.1, 3.7))
        image.array[:, :3] = 0  # cropped away
    scores = scores_of(image, spec)
    return spec, replace(scores, values=4 * scores.values), image


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("plan", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
def test_they_are_the_interpolated_probabilities(plan, regions):
    spec, scores, image = made(plan, regions=regions)
    maps = ProbabilityMaps(image.grid)
    maps.of_network(spec, scores.frame).add(scores)
    values = np.rint(255 * scores.probabilities().values)
    if regions:
        values[0] = 255 - values[1:].max(axis=0)
    target = scores.frame.view(np.zeros(image.grid.shape, np.uint8))
    orders = axis_orders(scores.resampling, scores.spacing_mm, scores.frame.spacing_mm)
    z, y, x = (
        operator(*sizes).astype(float)
        for sizes in zip(scores.frame.shape, target.shape, orders, strict=True)
    )
    whole = np.einsum("Zz,Yy,Xx,czyx->cZYX", z, y, x, values.astype(float), optimize=True)
    for channel, name in enumerate(scores.classes[1:], start=1):
        got = scores.frame.view(maps.probability(name).array)
        assert np.abs(got - whole[channel].clip(0, 255)).max() < 0.51
    uncertainty = maps.uncertainty()
    # Interpolating the largest is not the largest of the interpolated, but it is no smaller.
    assert (scores.frame.view(uncertainty.array) <= 255 - whole.max(axis=0) + 2).all()
    assert not uncertainty.array[:, :3].any()  # what the network never saw
    assert 5 < np.median(scores.frame.view(uncertainty.array)) < 192  # at most 1 - 1/4
    maps.close()


def test_slabs_are_the_whole():
    spec, scores, image = made()
    whole, slabs = ProbabilityMaps(image.grid), ProbabilityMaps(image.grid)
    whole.of_network(spec, scores.frame).add(scores)
    kept = slabs.of_network(spec, scores.frame)
    depth = scores.values.shape[1]
    for first in range(0, depth - 1, 5):
        part = scores.values[:, first : first + 6]
        kept.add(replace(scores, values=part, first=first, slab=True))
    for name in scores.classes[1:]:
        assert np.array_equal(whole.probability(name).array, slabs.probability(name).array)
    assert np.array_equal(whole.uncertainty().array, slabs.uncertainty().array)


def test_a_later_network_decides_where_it_looked():
    spec, scores, image = made()
    maps = ProbabilityMaps(image.grid)
    maps.of_network(spec, scores.frame).add(scores)
    first = maps.probability("spleen").array.copy()
    box = (slice(4, 20), slice(5, 17), slice(6, 20))
    _, inner, part = made(image=Volume(*_crop(image, box)))
    sure = np.full_like(inner.values, -20)
    sure[2] = 20
    maps.of_network(spec, inner.frame).add(replace(inner, values=sure))
    second = maps.probability("spleen").array
    assert (second[box] == 255).all()
    assert not maps.probability("aorta").array[box].any()
    outside = np.ones(first.shape, bool)
    outside[box] = False
    assert np.array_equal(second[outside], first[outside])
    assert part.array.shape == (16, 12, 14)


def _crop(image, box):
    cropped = image.cropped(box)
    return np.ascontiguousarray(cropped.array), cropped.grid


def test_a_class_without_a_probability_is_nowhere():
    spec, scores, image = made()
    maps = ProbabilityMaps(image.grid)
    maps.of_network(spec, scores.frame)
    assert not maps.probability("liver").array.any()
    assert not maps.uncertainty().array.any()
    assert not maps.probability("unknown").array.any()
