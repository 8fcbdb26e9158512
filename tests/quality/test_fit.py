"""The interval holds as often as it says, for scans like those of the calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.quality.fit import KnownCase, calibrate, recalibrate
from nnstudent.quality.model import QualityModel
from tests.quality.cases import known_cases


@pytest.fixture(scope="module")
def model() -> QualityModel:
    return calibrate(known_cases(0, 120), rests_on={"scans": 120})


def covered(model: QualityModel, cases: Sequence[KnownCase]) -> tuple[float, float]:
    """Share of the organs whose true Dice lies in the interval, and the interval's mean width."""
    inside, width = [], []
    for case in cases:
        for name, quality in model(case.features).items():
            assert quality.low is not None
            assert quality.high is not None
            inside.append(quality.low <= case.dice[name] <= quality.high)
            width.append(quality.high - quality.low)
    return float(np.mean(inside)), float(np.mean(width))


def test_interval_holds_for_nine_of_ten(model: QualityModel) -> None:
    share, width = covered(model, known_cases(1, 400))
    assert 0.87 <= share <= 0.95
    assert width < 0.35


def test_expected_dice_follows_the_true_one(model: QualityModel) -> None:
    pairs = [
        (quality.expected_dice, case.dice[name])
        for case in known_cases(2, 100)
        for name, quality in model(case.features).items()
    ]
    expected, true = np.array(pairs, np.float64).T
    assert np.corrcoef(expected, true)[0, 1] > 0.85
    assert abs(float(np.mean(expected - true))) < 0.02


def test_worse_scans_are_covered_after_adapting_to_a_few(model: QualityModel) -> None:
    elsewhere = known_cases(3, 200, worse=0.25)
    before, _ = covered(model, elsewhere)
    adapted = recalibrate(model, elsewhere[:6])
    after, _ = covered(adapted, elsewhere[6:])
    assert before < 0.5
    assert after >= 0.85


def test_an_organ_that_was_never_found_is_left_out() -> None:
    cases = [
        replace(case, dice={name: case.dice[name] for name in ("liver", "spleen")})
        for case in known_cases(4, 30)
    ]
    judged = calibrate(cases)(known_cases(5, 1)[0].features)
    assert set(judged) == {"liver", "spleen"}


def test_too_few_scans_are_refused(model: QualityModel) -> None:
    with pytest.raises(InputError, match="7 scans with a known truth; expected at least 20"):
        calibrate(known_cases(6, 7))
    with pytest.raises(InputError, match="2 scans with a known truth; expected at least 3"):
        recalibrate(model, known_cases(6, 2))
