from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudent.bundle.plans import from_nnunet
from nnstudent.errors import GeometryError
from nnstudent.inference.grid.resample import axis_orders, operator
from nnstudent.inference.grid.restore import restore
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.inference.labels.uncertainty import label_probability, runner_up_labels
from tests.inference.conftest import blobs
from tests.inference.folders import ANISOTROPIC, ISOTROPIC, dataset, plans
from tests.inference.grid.test_restore import CLASSES, scores_of


def made(plan=ISOTROPIC, *, seed: int = 0, **kwargs) -> tuple[ClassScores, object]:
    spec, _ = from_nnunet(plans(plan), dataset(CLASSES), configuration="3d_fullres", name="m")
    image = blobs((24, 20, 25), (5.0, 4.1, 3.7))
    image.array[:, :3] = 0  # cropped away
    scores = scores_of(image, spec, seed=seed, **kwargs)
    return replace(scores, values=4 * scores.values).probabilities(), image


@pytest.mark.parametrize("plan", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_it_is_the_interpolated_probability_of_the_label(plan, order):
    scores, image = made(plan)
    scores = replace(scores, resampling=replace(scores.resampling, order=order))
    labels = restore(scores, image.grid)
    target = scores.frame.view(labels.array)
    orders = axis_orders(scores.resampling, scores.spacing_mm, scores.frame.spacing_mm)
    z, y, x = (
        operator(*sizes).astype(float)
        for sizes in zip(scores.frame.shape, target.shape, orders, strict=True)
    )
    whole = np.einsum("Zz,Yy,Xx,czyx->cZYX", z, y, x, scores.values.astype(float), optimize=True)
    channel = np.searchsorted(scores.ids, target)
    expected = 255 * np.take_along_axis(whole, channel[None], 0)[0].clip(0, 1)
    got = label_probability(labels, scores)
    assert np.abs(scores.frame.view(got) - expected).max() < 0.51
    assert (got[:, :3] == 255).all()  # what the network never saw is background for certain
    assert 80 < np.median(scores.frame.view(got)) < 255


@settings(max_examples=20, deadline=None)
@given(slab_mm=st.floats(1, 300), seed=st.integers(0, 5))
def test_the_thickness_of_slabs_changes_nothing(slab_mm, seed):
    scores, image = made(seed=seed)
    labels = restore(scores, image.grid)
    thick = label_probability(labels, scores, slab_mm=1e6)
    assert (
        np.abs(thick.astype(int) - label_probability(labels, scores, slab_mm=slab_mm)).max() <= 1
    )  # another order of summing


def test_channels_that_share_a_label_are_summed():
    scores, image = made()
    shared = replace(scores, ids=(0, 1, 1, 0))
    alone, together = (
        label_probability(restore(said, image.grid), said) for said in (scores, shared)
    )
    assert (together >= alone).all()
    assert (together > alone).mean() > 0.5


@pytest.mark.parametrize("plan", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
def test_the_runner_up_is_the_best_but_the_label_nearby(plan):
    scores, image = made(plan)
    labels = restore(scores, image.grid)
    target = scores.frame.view(labels.array)
    got = runner_up_labels(labels, scores)
    assert (got[:, :3] == 0).all()
    found = scores.frame.view(got)
    assert (found != target).all()
    ids = np.array(scores.ids)
    for at in np.random.default_rng(0).integers(0, target.shape, (200, 3)):
        z, y, x = (
            int((i + 0.5) * old / new)
            for i, old, new in zip(at, scores.frame.shape, target.shape, strict=True)
        )
        ranked = ids[np.argsort(scores.values[:, z, y, x])[::-1]]
        assert found[tuple(at)] == next(id for id in ranked if id != target[tuple(at)])


def test_another_image_is_refused():
    scores, _ = made()
    other = blobs((24, 20, 25), (5.0, 4.1, 3.0))
    with pytest.raises(GeometryError, match="give both of the same image"):
        label_probability(other, scores)
