"""The simulated annotators: what is unlike, what is counted, what is printed."""

from __future__ import annotations

import pytest

from bench.annotators import Scans, mean_over_organs, recipe, table, unlike
from bench.quality_shifts import SHIFTS
from nnstudent.choices import STRATEGIES


def test_a_third_of_the_scans_is_unlike_the_others_in_every_way_in_turn() -> None:
    ways = [unlike(number) for number in range(3 * len(SHIFTS))]
    assert ways[2::3] == list(SHIFTS)
    assert ways.count(None) == 2 * len(SHIFTS)


def test_the_mean_is_over_organs_and_not_over_scans() -> None:
    found = {"a": {"liver": 1.0, "spleen": 0.5}, "b": {"liver": 0.8}, "c": {"liver": 0.6}}
    assert mean_over_organs(found) == pytest.approx((0.8 + 0.5) / 2)


def test_pool_test_and_calibration_share_no_scan_and_the_seed_shuffles_the_pool_only(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(Scans, "_make", lambda *_: None)
    one, other = (Scans(tmp_path, seed, lambda *_: None) for seed in (0, 1))
    every = [*one.pool, *one.test, *one.calibration]
    assert len(set(every)) == len(every) == len(one.names)
    assert one.pool != other.pool
    assert (set(one.pool), one.test) == (set(other.pool), other.test)


def test_the_first_training_is_longer() -> None:
    assert recipe(400).training.epochs == 16
    assert recipe(10).training.epochs == 1


def test_the_table_has_a_line_a_strategy_with_the_range_over_seeds() -> None:
    rows = [
        {"seed": seed, "strategy": "quality", "corrected": 10, "dsc": dsc}
        for seed, dsc in enumerate((0.5, 0.7))
    ]
    lines = table(rows).splitlines()
    assert lines[2] == "| quality | 2 | 0.600 (0.500 to 0.700) |"
    assert len(lines) == 2 + len(STRATEGIES)
    assert lines[-1] == "| random | 0 | – |"
