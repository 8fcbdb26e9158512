"""Calibrating the expected Dice: fitting on one half of the scans, measuring on the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnstudent.errors import InputError
from nnstudent.quality.design import design, fit_norms
from nnstudent.quality.features import CaseFeatures
from nnstudent.quality.model import Margin, QualityModel
from nnstudent.quality.regression import fit
from nnstudent.types import Float64Array, IndexArray, MaskArray

LEVEL = 0.9
LEAST_SCANS = 20
_LEAST_OF_ORGAN = 30  # scans from which an organ's own margin is steadier than that of all
_LEAST_ERROR = 0.01
_NOVEL = 0.99
_LEAST_LOCAL = 3


@dataclass(frozen=True)
class KnownCase:
    """A segmented scan whose truth is known.

    Attributes:
        features: Its measurements.
        dice: True Dice of the organs that were looked for in the truth, by name.
    """

    features: CaseFeatures
    dice: Mapping[str, float]


@dataclass(frozen=True)
class _Rows:
    names: tuple[str, ...]
    values: Float64Array
    novelty: Float64Array
    dice: Float64Array
    case: IndexArray


def calibrate(
    cases: Sequence[KnownCase],
    *,
    also: Sequence[KnownCase] = (),
    rests_on: Mapping[str, Any] | None = None,
) -> QualityModel:
    """Calibrate the expected Dice from scratch.

    Every other scan serves to fit, the others to measure how wide intervals must be.

    Args:
        cases: Scans that the network did not learn from, in random order.
        also: Scans of other kinds, such as bad ones: the regression learns from them too how
            failures look. The interval is still that of ``cases``.
        rests_on: Where their truth comes from; plain data, for people.

    Raises:
        InputError: There are fewer than :data:`LEAST_SCANS`, or none of an organ's were found.
    """
    cases = [case for case in cases if case.dice]
    if len(cases) < LEAST_SCANS:
        raise InputError(
            f"{len(cases)} scans with a known truth; expected at least {LEAST_SCANS} to calibrate "
            "the expected Dice"
        )
    learned, measured = cases[::2], cases[1::2]
    names = list(dict.fromkeys(name for case in learned for name in case.dice))
    norms = fit_norms([case.features for case in learned], names)
    rows = _rows([*learned, *(case for case in also if case.dice)], norms)
    expected, held = fit(rows.names, rows.values, rows.dice, rows.case)
    held = np.clip(held, 0, 1)
    error = np.abs(rows.dice - held)
    columns = np.column_stack([rows.values, held])
    spread, _ = fit(rows.names, columns, np.log(error + _LEAST_ERROR), rows.case)
    model = QualityModel(
        LEVEL, norms, expected, spread, (1.0, 1.0), {}, Margin(1.0, 0), {}, rests_on=rests_on or {}
    )
    usual = rows.case < len(learned)
    model = replace(model, reach=_reach(model, rows, held, usual))
    return replace(_with_margins(model, _rows(measured, norms)), rests_on=dict(rests_on or {}))


def recalibrate(
    model: QualityModel, cases: Sequence[KnownCase], *, rests_on: Mapping[str, Any] | None = None
) -> QualityModel:
    """Adapt a calibration to scans of another kind, such as another hospital's.

    The regression stays. What it predicts is shifted by the mean error on the new scans, and the
    width of the interval is measured on them, each scan without its own part of the shift.

    Args:
        model: The calibration.
        cases: A few scans of the other kind.
        rests_on: Where their truth comes from.

    Raises:
        InputError: There are fewer than three scans.
    """
    cases = [case for case in cases if case.dice]
    if len(cases) < _LEAST_LOCAL:
        raise InputError(
            f"{len(cases)} scans with a known truth; expected at least {_LEAST_LOCAL} to adapt a "
            "calibration"
        )
    plain = replace(model, shift={})
    rows = _rows(cases, model.norms)
    expected, spread = plain.predict(rows.names, rows.values)
    error = rows.dice - expected
    different = np.unique(rows.case)
    held = np.zeros(len(error))
    for case in different:
        out = rows.case == case
        shift = _shift(rows.names, error, ~out)
        held[out] = [shift.get(name, 0.0) for name in np.array(rows.names)[out]]
    adapted = replace(plain, shift=_shift(rows.names, error, np.ones(len(error), bool)))
    scores = _scores(rows.dice - np.clip(expected + held, 0, 1), spread, model.reach)
    common = Margin(_quantile(scores, model.level), len(scores))
    novelty = {
        name: max([limit, *_of(name, rows.names, rows.novelty)])
        for name, limit in model.novelty.items()
    }
    return replace(
        adapted, margins={}, common=common, novelty=novelty, rests_on=dict(rests_on or {})
    )


def _shift(names: Sequence[str], error: Float64Array, rows: MaskArray) -> dict[str, float]:
    """Mean error of each organ, drawn towards that of all, and that towards none."""
    chosen = np.array(names)[rows]
    overall = float(error[rows].sum() / (rows.sum() + 10))
    shift = {}
    for name in dict.fromkeys(names):
        own = error[rows][chosen == name]
        shift[name] = round(float((own.sum() + 3 * overall) / (len(own) + 3)), 4)
    return shift


def _rows(cases: Sequence[KnownCase], norms: Mapping[str, Any]) -> _Rows:
    names: list[str] = []
    values, novelty, dice, numbers = [], [], [], []
    for number, case in enumerate(cases):
        rows = design(case.features, norms)
        for k, name in enumerate(rows.names):
            if name in case.dice:
                names.append(name)
                values.append(rows.values[k])
                novelty.append(rows.novelty[k])
                dice.append(case.dice[name])
                numbers.append(number)
    if not names:
        raise InputError("no organ with a known truth was found in any scan; nothing to calibrate")
    return _Rows(
        tuple(names),
        np.array(values),
        np.array(novelty),
        np.array(dice, np.float64),
        np.array(numbers, np.intp),
    )


def _reach(
    model: QualityModel, rows: _Rows, held: Float64Array, usual: MaskArray
) -> tuple[float, float]:
    """How far errors reach below and above the prediction in some rows, in spreads."""
    _, spread = model.predict(rows.names, rows.values)
    error = ((rows.dice - held) / spread)[usual]
    below, above = (float(v) for v in np.quantile(error, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return max(-below, 0.1), max(above, 0.1)


def _with_margins(model: QualityModel, rows: _Rows) -> QualityModel:
    known = np.array([name in model.expected.base for name in rows.names])
    names = tuple(name for name, ok in zip(rows.names, known, strict=True) if ok)
    expected, spread = model.predict(names, rows.values[known])
    scores = _scores(rows.dice[known] - expected, spread, model.reach)
    novelty = rows.novelty[known]
    margins, limits = {}, {}
    for name in dict.fromkeys(names):
        own = np.array(_of(name, names, scores))
        limits[name] = round(_quantile(np.array(_of(name, names, novelty)), _NOVEL, most=True), 3)
        if len(own) >= _LEAST_OF_ORGAN:
            margins[name] = Margin(_quantile(own, model.level), len(own))
    common = Margin(_quantile(scores, model.level), len(scores))
    return replace(model, margins=margins, common=common, novelty=limits)


def _scores(error: Float64Array, spread: Float64Array, reach: tuple[float, float]) -> Float64Array:
    """By how much the interval must grow to hold each true value."""
    return np.asarray(np.maximum(-error / (spread * reach[0]), error / (spread * reach[1])))


def _quantile(values: Float64Array, level: float, *, most: bool = False) -> float:
    """The quantile that holds for one more value with this probability; infinite if too few."""
    place = math.ceil((len(values) + 1) * level)
    if place > len(values):
        return float(values.max()) if most else 1e3
    return float(f"{np.sort(values)[place - 1]:.4g}")


def _of(name: str, names: Sequence[str], values: Float64Array) -> list[float]:
    return [float(value) for one, value in zip(names, values, strict=True) if one == name]
