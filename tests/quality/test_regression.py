"""Weights that all organs share, and what an organ has of its own."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.quality.regression import fit


def rows(count: int, seed: int) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    names = ["liver", "spleen"] * count
    values = rng.normal(size=(2 * count, 3))
    liver = np.array(names) == "liver"
    target = 0.8 * liver + 0.5 * ~liver + 0.1 * values[:, 0] - 0.1 * values[:, 1] * liver
    cases = np.repeat(np.arange(count), 2)
    return names, values, target + rng.normal(0, 0.01, 2 * count), cases


def test_shared_and_own_weights_are_found() -> None:
    model, _ = fit(*rows(80, 0))
    names, values, target, _ = rows(50, 1)
    assert np.abs(model(names, values) - target).mean() < 0.015
    assert model.base == {
        "liver": pytest.approx(0.8, abs=0.03),
        "spleen": pytest.approx(0.5, abs=0.03),
    }


def test_what_is_held_out_is_predicted_without_its_case() -> None:
    names, values, target, cases = rows(40, 2)
    noise = np.random.default_rng(3).normal(size=len(target))
    _, held = fit(names, values, noise, cases)
    assert np.corrcoef(held, noise)[0, 1] < 0.2, "noise cannot be predicted"
    _, held = fit(names, values, target, cases)
    assert np.corrcoef(held, target)[0, 1] > 0.95


def test_one_case_is_enough_not_to_fail() -> None:
    names, values, target, cases = rows(1, 4)
    model, _ = fit(names, values, target, cases)
    assert np.isfinite(model(names, values)).all()
