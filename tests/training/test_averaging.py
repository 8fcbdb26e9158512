"""The moving average of the weights."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")
from torch import nn  # noqa: E402

from nnstudent.training.averaging import WeightAverage  # noqa: E402


def network(value: float) -> nn.Module:
    layer = nn.Linear(2, 1)
    for parameter in layer.parameters():
        nn.init.constant_(parameter, value)
    return layer


def test_it_is_the_average_by_hand() -> None:
    layer, average = network(1.0), WeightAverage(0.5)
    expected = 1.0
    for step, value in enumerate((1.0, 3.0, -2.0, 0.0, 7.0), start=1):
        with torch.no_grad():
            layer.weight.fill_(value)
        average.update(layer)
        keep = min(0.5, (1 + step) / (10 + step)) if step > 1 else 0.0
        expected = keep * expected + (1 - keep) * value
    assert average.of(layer.state_dict())["weight"].flatten().tolist() == pytest.approx(
        [expected] * 2
    )
    assert layer.weight.flatten().tolist() == [7.0, 7.0]


def test_a_network_has_it_inside_the_block_only() -> None:
    layer, average = network(1.0), WeightAverage(0.9)
    average.update(layer)
    with torch.no_grad():
        layer.weight.fill_(5.0)
    with average.applied(layer):
        assert layer.weight.flatten().tolist() == [1.0, 1.0]
    assert layer.weight.flatten().tolist() == [5.0, 5.0]


def test_a_weight_of_two_names_is_averaged_under_both() -> None:
    shared = nn.Linear(2, 2)
    both = nn.ModuleDict({"one": shared, "other": shared})
    average = WeightAverage(0.9)
    average.update(both)
    with torch.no_grad():
        shared.weight.add_(10.0)
    values = average.of(both.state_dict())
    assert torch.equal(values["one.weight"], values["other.weight"])
    assert not torch.equal(values["one.weight"], shared.weight)


def test_it_goes_on_from_where_it_was() -> None:
    layer, average = network(1.0), WeightAverage(0.9)
    average.update(layer)
    saved = average.of(layer.state_dict())
    fresh = WeightAverage(0.9)
    fresh.load(layer, saved)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    fresh.update(layer)
    assert fresh.of(layer.state_dict())["weight"].flatten().tolist() == pytest.approx([1.1, 1.1])
