"""What a calibration says of organs whose true Dice is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nnstudent.quality.fit import KnownCase
from nnstudent.quality.model import QualityModel


@dataclass(frozen=True)
class Judged:
    """One organ of one scan: what was expected of it, and what came.

    Attributes:
        scan: The scan.
        organ: The class.
        expected: Expected Dice.
        low: Lower end of the interval.
        high: Upper end.
        verdict: The verdict.
        true: The true Dice.
        confidence: Mean confidence, for comparison.
    """

    scan: str
    organ: str
    expected: float
    low: float
    high: float
    verdict: str
    true: float
    confidence: float

    @property
    def inside(self) -> bool:
        """Whether the true Dice lies in the interval."""
        return self.low <= self.true <= self.high


def judged(model: QualityModel, cases: Mapping[str, KnownCase]) -> list[Judged]:
    """What a calibration says of the organs that were found, in the order of the cases.

    Args:
        model: The calibration.
        cases: Scans whose truth is known, by name.
    """
    found = []
    for scan, case in cases.items():
        for organ, quality in model(case.features).items():
            if quality.expected_dice is None or organ not in case.dice:
                continue
            if quality.low is None or quality.high is None:
                continue
            found.append(
                Judged(
                    scan,
                    organ,
                    quality.expected_dice,
                    quality.low,
                    quality.high,
                    quality.verdict,
                    case.dice[organ],
                    case.features.organs[organ].confidence,
                )
            )
    return found
