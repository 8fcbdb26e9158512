"""The mean teacher: its target, its term of the loss, and the strong view."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")
from torch import nn  # noqa: E402

from nnstudent.cohort.cohort import Cohort, write_cohort  # noqa: E402
from nnstudent.errors import InputError  # noqa: E402
from nnstudent.training.averaging import WeightAverage  # noqa: E402
from nnstudent.training.consistency import RISING, Consistency, risen, strong_view  # noqa: E402
from nnstudent.training.precision import Precision  # noqa: E402
from nnstudent.training.study import study  # noqa: E402
from tests.training.conftest import ORGANS, TABLE, tiny_recipe, write_case  # noqa: E402

EXACT = Precision(torch.device("cpu"), "fp32")


def averaged() -> tuple[nn.Module, WeightAverage, dict[str, torch.Tensor]]:
    """A network, an average of other weights than its own, and the weights of the average."""
    torch.manual_seed(0)
    network, average = nn.Conv3d(1, 3, 3, padding=1), WeightAverage(0.9)
    average.update(network)
    with torch.no_grad():
        network.weight.mul_(-2.0)
    average.update(network)
    return network, average, average.of(network.state_dict())


def test_the_target_is_what_the_average_says_and_the_network_stays() -> None:
    network, average, weights = averaged()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    image = torch.randn(2, 1, 4, 5, 6)
    target = Consistency(1.0, average, steps=10).target(network, image, EXACT)
    other = nn.Conv3d(1, 3, 3, padding=1)
    other.load_state_dict(weights)
    assert torch.allclose(target, other(image).softmax(1), atol=1e-6)
    assert not torch.allclose(target, network(image).softmax(1), atol=1e-2)
    assert not target.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_term_pulls_the_network_towards_its_average() -> None:
    network, average, _ = averaged()
    term, image = Consistency(0.5, average, steps=10), torch.randn(1, 1, 4, 4, 4)
    target = term.target(network, image, EXACT)
    by_hand = 0.5 * float(((network(image).softmax(1) - target) ** 2).sum(1).mean().detach())
    first = term.loss(network(image), target, step=10)
    assert float(first.detach()) == pytest.approx(by_hand)
    first.backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= parameter.grad
    assert term.loss(network(image), target, step=10) < by_hand
    assert term.loss(target.log(), target, step=10) == pytest.approx(0, abs=1e-12)


def test_its_weight_rises_until_the_average_is_worth_following() -> None:
    shares = [risen(step, 1000) for step in range(1001)]
    assert shares[0] == pytest.approx(math.exp(-5))
    assert shares == sorted(shares)
    full = round(RISING * 1000)
    assert shares[full - 1] < 1
    assert set(shares[full:]) == {1.0}


def test_a_strong_view_changes_intensities_and_keeps_places() -> None:
    np.random.seed(0)  # noqa: NPY002
    z, y, x = np.indices((16, 20, 24))
    ball = ((z - 8) ** 2 + (y - 9) ** 2 + (x - 14) ** 2 < 30).astype(np.float32)
    image = torch.from_numpy(3 * ball)[None, None].repeat(8, 1, 1, 1, 1)
    before = image.clone()
    changed = strong_view(image)
    assert torch.equal(image, before)
    assert changed.shape == image.shape
    for sample in changed:
        inside, outside = sample[0][ball > 0], sample[0][ball == 0]
        assert float(inside.mean() - outside.mean()) > 1
        assert not torch.allclose(sample, before[0], atol=0.05)
    assert len({round(float(sample.mean()), 4) for sample in changed}) == 8  # each in its own way


def test_a_training_with_a_mean_teacher_learns_something_else(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    cases = tuple(write_case(cohort, id, seed, ORGANS) for seed, id in enumerate("ab"))
    write_cohort(cohort, Cohort(TABLE, cases))

    def weights(name: str, **training: float) -> dict[str, torch.Tensor]:
        recipe = tiny_recipe(augment=(), precision="fp32", ema=0.5, **training)
        model = study(cohort, tmp_path / name, recipe, organs_only=True, threads=1)
        checkpoint = torch.load(model / "fold_0" / "checkpoint_final.pth", weights_only=True)
        return checkpoint["network_weights"]

    alone, taught = weights("alone"), weights("taught", consistency=1.0)
    assert all(torch.isfinite(value).all() for value in taught.values())
    assert any(not torch.equal(value, taught[name]) for name, value in alone.items())


def test_a_mean_teacher_needs_an_average_and_an_image() -> None:
    with pytest.raises(InputError, match=r"consistency = 1.0 with ema = 0.0; .* ema = 0.999"):
        tiny_recipe(consistency=1.0)
    recipe = tiny_recipe(consistency=1.0, ema=0.9)
    with pytest.raises(InputError, match=r"consistency = 1\.0 with hosts"):
        replace(recipe, data=replace(recipe.data, hosts=("left_ball",)))
