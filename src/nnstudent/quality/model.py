"""The expected Dice of an organ, with an interval that holds for 9 scans of 10.

Split-conformal regression (Lei et al., J Am Stat Assoc 113:1094, 2018): a regression is fitted on
one half of the scans whose truth is known; the other half says how wide the interval must be. For
scans like those, drawn at random, the true Dice lies in the interval with at least the chosen
probability, however good or bad the regression is. For scans of another kind it is a hint only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from nnstudent.errors import InputError
from nnstudent.quality.design import BASIS, MEASURES, OrganNorm, design, find_middle
from nnstudent.quality.features import CaseFeatures
from nnstudent.quality.regression import Regression
from nnstudent.serialization import from_plain, to_plain
from nnstudent.types import Float64Array

Verdict = Literal["pass", "look", "fail"]
VERDICTS: tuple[Verdict, ...] = ("pass", "look", "fail")
POOR = 0.5  # an organ that is expected below this fails; one that passes is above it in 19 of 20
GOOD = 0.7  # an organ that passes is expected above this
_INSIDE_MM = 15.0  # the usual place of an organ is in view if it is so far inside the image


@dataclass(frozen=True)
class Quality:
    """How good the segmentation of one organ is expected to be.

    Attributes:
        expected_dice: Expected Dice with the truth; None for an organ that was not found.
        low: Lower end of its interval; None for an organ that was not found.
        high: Upper end.
        verdict: ``pass``, ``look`` (a person should look) or ``fail``.
        reason: Why it is not ``pass``; empty if it is.
    """

    expected_dice: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    reason: str = ""

    @property
    def interval(self) -> tuple[float, float, float] | None:
        """The expected Dice and the ends of its interval; None for an organ that was not found."""
        if self.expected_dice is None or self.low is None or self.high is None:
            return None
        return self.expected_dice, self.low, self.high

    def text(self) -> str:
        """The same in one line: ``expected Dice 0.91 (0.84 to 0.95), pass``."""
        if self.interval is None:
            return self.reason
        expected, low, high = self.interval
        return f"expected Dice {expected:.2f} ({low:.2f} to {high:.2f}), {self.verdict}"

    def record(self) -> dict[str, Any]:
        """The same as plain data, rounded."""
        expected, *ends = self.interval or (None,)
        return {
            "expected_dice": None if expected is None else round(expected, 3),
            "dice_interval": [round(end, 3) for end in ends] or None,
            "verdict": self.verdict,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Margin:
    """How many spreads the interval reaches, and on how many organs of scans that rests.

    Attributes:
        factor: Multiplies the reach of the interval on either side.
        count: How many organs it was found on.
    """

    factor: float
    count: int


@dataclass(frozen=True)
class QualityModel:
    """A calibration of the expected Dice.

    Attributes:
        level: Probability with which the interval holds.
        norms: What is usual of each organ.
        expected: Predicts the Dice from :data:`~nnstudent.quality.design.BASIS`.
        spread: Predicts the logarithm of its error from the same and the prediction.
        reach: How far the interval reaches below and above, in spreads, before the margin.
        margins: Margin of each organ that was seen often enough.
        common: Margin of all others.
        novelty: For each organ the largest novelty that is still usual.
        shift: What is added to the prediction for each organ, found on scans of another kind.
        rests_on: Where the truth comes from; plain data, for people.
    """

    level: float
    norms: Mapping[str, OrganNorm]
    expected: Regression
    spread: Regression
    reach: tuple[float, float]
    margins: Mapping[str, Margin]
    common: Margin
    novelty: Mapping[str, float]
    shift: Mapping[str, float] = field(default_factory=dict)
    rests_on: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, case: CaseFeatures) -> dict[str, Quality]:
        """Estimate the quality of each organ that was found, or should have been.

        Args:
            case: Measurements of a segmented scan.
        """
        names, expected, low, high, novelty = self.intervals(case)
        found = {
            name: self._judge(name, *row)
            for name, *row in zip(names, expected, low, high, novelty, strict=True)
        }
        missed = {
            name: Quality(None, None, None, "look", "not found, although its place is in view")
            for name in case.absent
            if self._in_view(name, case)
        }
        return {**found, **missed}

    def intervals(
        self, case: CaseFeatures
    ) -> tuple[tuple[str, ...], Float64Array, Float64Array, Float64Array, Float64Array]:
        """Names, expected Dice, lower and upper ends, and novelty of the organs found."""
        rows = design(case, self.norms)
        known = [k for k, name in enumerate(rows.names) if name in self.expected.base]
        names = tuple(rows.names[k] for k in known)
        values, novelty = rows.values[known], rows.novelty[known]
        expected, spread = self.predict(names, values)
        factor = np.array([self.margins.get(name, self.common).factor for name in names])
        low = np.clip(expected - spread * self.reach[0] * factor, 0, 1)
        high = np.clip(expected + spread * self.reach[1] * factor, 0, 1)
        return names, np.clip(expected, 0, 1), low, high, novelty

    def predict(
        self, names: tuple[str, ...], values: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Expected Dice, shifted, and its spread, by organ and columns of the design."""
        if not names:
            return np.zeros(0), np.zeros(0)
        expected = np.clip(self.expected(names, values), 0, 1)
        spread = np.exp(np.clip(self.spread(names, np.column_stack([values, expected])), -5, 0))
        shift = np.array([self.shift.get(name, 0.0) for name in names])
        return np.clip(expected + shift, 0, 1), np.asarray(spread, np.float64)

    def _judge(
        self, name: str, expected: float, low: float, high: float, novelty: float
    ) -> Quality:
        verdict: Verdict = "pass"
        reason = ""
        if expected < POOR:
            verdict, reason = "fail", f"expected Dice below {POOR:g}"
        elif novelty > self.novelty.get(name, np.inf):
            verdict, reason = "look", "unlike the scans of the calibration"
        elif expected < GOOD or low < POOR:
            verdict, reason = "look", f"may be below {POOR:g}" if low < POOR else "only fair"
        return Quality(float(expected), float(low), float(high), verdict, reason)

    def _in_view(self, name: str, case: CaseFeatures) -> bool:
        """Whether the usual place of an organ lies in the image, beside the organs found."""
        found = [other for other in case.organs if other in self.norms]
        if name not in self.norms or len(found) < 3:
            return False
        place = find_middle(case, self.norms) + self.norms[name].place_mm - case.center_mm
        return bool((np.abs(place) < np.array(case.extent_mm) - _INSIDE_MM).all())

    def to_dict(self) -> dict[str, Any]:
        """The calibration as plain data, which :meth:`from_dict` reads."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, data: Any, *, where: str) -> QualityModel:
        """Read a calibration.

        Raises:
            InputError: A value is missing, of the wrong type, or there are too few.
        """
        model: QualityModel = from_plain(cls, data, where=where)
        columns = len(BASIS)
        sizes = {len(model.expected.shared), len(model.expected.center)}
        sizes |= {len(own) for own in model.expected.own.values()}
        sizes |= {len(model.spread.shared) - 1, len(model.spread.center) - 1}
        sizes |= {len(own) - 1 for own in model.spread.own.values()}
        measures = {len(row) for norm in model.norms.values() for row in (norm.mean, norm.sd)}
        known = set(model.expected.base) <= set(model.spread.base) & set(model.norms)
        if sizes != {columns} or not measures <= {len(MEASURES)} or not known:
            raise InputError(
                f"{where}: is a calibration of other measurements than the {columns} of this "
                "version; calibrate the model again"
            )
        return model
