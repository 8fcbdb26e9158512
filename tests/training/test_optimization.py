"""Optimizer steps, and trainings that lose their loss."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")

from nnstudent.errors import InputError  # noqa: E402
from nnstudent.training.optimization import (  # noqa: E402
    MAX_LOST_STEPS,
    LossGuard,
    make_optimizer,
    update,
)
from tests.training.conftest import tiny_recipe  # noqa: E402


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_gradient_that_is_not_finite_changes_no_weight(optimizer: str) -> None:
    network = torch.nn.Linear(2, 1)
    steps = make_optimizer(tiny_recipe(optimizer=optimizer).training, network.parameters())
    before = network.weight.detach().clone()
    lost = network(torch.full((1, 2), float("inf"))).sum()
    assert not update(network, steps, lost, clip=12.0, scaler=None)
    assert torch.equal(network.weight, before)
    steps.zero_grad()
    assert update(network, steps, network(torch.ones(1, 2)).sum(), clip=12.0, scaler=None)
    assert not torch.equal(network.weight, before)


def test_only_consecutive_lost_steps_end_a_training() -> None:
    training = replace(tiny_recipe().training, iterations=1000)
    guard = LossGuard(training)
    for finite in [False] * (MAX_LOST_STEPS - 1) + [True] + [False] * (MAX_LOST_STEPS - 1):
        guard.record(finite=finite)
        guard.check("student", 100)
    guard.record(finite=False)
    with pytest.raises(InputError, match=r"student: no finite loss .* since step 81; lower lr"):
        guard.check("student", 100)
