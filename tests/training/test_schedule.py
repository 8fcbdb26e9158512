"""The learning rate from step to step, and the weight of rare classes from epoch to epoch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nnstudent.training.schedule import fading, learning_rate
from tests.training.conftest import tiny_recipe

TRAINING = replace(tiny_recipe().training, epochs=10, iterations=4, lr=0.1, warmup=0)


def test_poly_falls_from_epoch_to_epoch_as_in_nnunet() -> None:
    poly = replace(TRAINING, schedule="poly")
    rates = [learning_rate(poly, step) for step in range(40)]
    assert rates[0] == rates[3] == 0.1
    assert rates[20] == pytest.approx(0.1 * 0.5**0.9)
    assert len(set(rates)) == 10


def test_cosine_falls_from_step_to_step_to_zero() -> None:
    cosine = replace(TRAINING, schedule="cosine")
    rates = [learning_rate(cosine, step) for step in range(41)]
    assert rates == sorted(rates, reverse=True)
    assert (rates[0], rates[20], rates[40]) == pytest.approx((0.1, 0.05, 0.0))


def test_a_warm_up_rises_in_a_line() -> None:
    warm = replace(TRAINING, schedule="poly", warmup=4)
    assert [learning_rate(warm, step) for step in range(5)] == pytest.approx(
        [0.025, 0.05, 0.075, 0.1, learning_rate(replace(warm, warmup=0), 4)]
    )


def test_class_weights_fade_in_the_second_half_only_if_asked() -> None:
    assert {fading(replace(TRAINING, fade_weights=False), epoch) for epoch in range(10)} == {1.0}
    faded = replace(TRAINING, fade_weights=True)
    assert [fading(faded, epoch) for epoch in (0, 5, 8)] == pytest.approx([1.0, 1.0, 0.4])
