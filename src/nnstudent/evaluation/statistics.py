"""Statistics over cases: bootstrap intervals of means, and paired tests of two methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnstudent.errors import InputError
from nnstudent.types import Float64Array

Interval = tuple[float, float]
RESAMPLES = 5000
LEVEL = 0.95
UNKNOWN: Interval = (math.nan, math.nan)
_CHUNK = 500  # resamples that are drawn together; memory is proportional to this times the cases


def bootstrap(
    table: Float64Array,
    groups: Sequence[Sequence[int]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> list[Interval]:
    """Percentile bootstrap intervals of the mean of several columns' means.

    Cases are drawn with replacement, the same ones for all columns, so that classes scored in one
    case stay together. A column for which a resample has no case is left out of that resample.

    Args:
        table: Scores, (case, column); NaN if a case was not scored on that column.
        groups: For each interval, the columns whose means are averaged.
        seed: Seed of the drawing.
        resamples: Number of resamples.
        level: Confidence level, between 0 and 1.

    Returns:
        Lower and upper bound for each group; NaN if it rests on fewer than two cases.

    Raises:
        InputError: The level is not between 0 and 1, or the number of resamples is below 1.
    """
    _check_drawing(resamples, level)
    cases = len(table)
    known = ~np.isnan(table)
    enough = [
        len(group) > 0 and np.count_nonzero(known[:, list(group)].any(axis=1)) > 1
        for group in groups
    ]
    if not any(enough):
        return [UNKNOWN] * len(groups)
    filled, counted = np.where(known, table, 0.0), known.astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, len(groups)))
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn = rng.multinomial(cases, np.full(cases, 1 / cases), size=size).astype(np.float64)
        sums, counts = drawn @ filled, drawn @ counted
        columns = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
        for place, group in enumerate(groups):
            part = columns[:, list(group)]
            defined = ~np.isnan(part)
            count = defined.sum(axis=1)
            total = np.where(defined, part, 0.0).sum(axis=1)
            means[start : start + size, place] = np.divide(
                total, count, out=np.full(size, np.nan), where=count > 0
            )
    tail = 50 * (1 - level)
    intervals = []
    for place, usable in enumerate(enough):
        low, high = np.nanpercentile(means[:, place], [tail, 100 - tail]) if usable else UNKNOWN
        intervals.append((float(low), float(high)))
    return intervals


def bootstrap_runs(
    table: Float64Array,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Percentile bootstrap interval of a mean over cases and over repeated trainings.

    Each resample draws trainings with replacement and, independently, cases with replacement, so
    that the interval covers other patients as well as another training's luck. With one training
    it covers other patients only. It is too narrow if trainings are few: of three, their part of
    the variance comes out at two thirds of what it is.

    Args:
        table: Scores or differences, (training, case); NaN where there is none.
        seed: Seed of the drawing.
        resamples: Number of resamples.
        level: Confidence level, between 0 and 1.

    Returns:
        Lower and upper bound; NaN if fewer than two cases have a score.

    Raises:
        InputError: The level is not between 0 and 1, or the number of resamples is below 1.
    """
    _check_drawing(resamples, level)
    known = ~np.isnan(table)
    if table.ndim != 2 or np.count_nonzero(known.any(axis=0)) < 2:
        return UNKNOWN
    runs, cases = table.shape
    filled, counted = np.where(known, table, 0.0), known.astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        run = rng.multinomial(runs, np.full(runs, 1 / runs), size=size).astype(np.float64)
        case = rng.multinomial(cases, np.full(cases, 1 / cases), size=size).astype(np.float64)
        total, count = (((run @ part) * case).sum(axis=1) for part in (filled, counted))
        means[start : start + size] = np.divide(
            total, count, out=np.full(size, np.nan), where=count > 0
        )
    tail = 50 * (1 - level)
    low, high = np.nanpercentile(means, [tail, 100 - tail])
    return float(low), float(high)


def _check_drawing(resamples: int, level: float) -> None:
    if not 0 < level < 1 or resamples < 1:
        raise InputError(
            f"{resamples} bootstrap resamples at a level of {level}; "
            "expected at least one resample, and a level between 0 and 1"
        )


@dataclass(frozen=True)
class PairedComparison:
    """Two methods on the same cases; differences are the first minus the second.

    Attributes:
        n: Number of cases that have a score from both methods.
        n_different: Number of cases whose two scores differ; only these enter the test.
        first: Mean of the first method over the n cases; NaN if there are none.
        second: Mean of the second method over the n cases.
        difference: Mean of the differences.
        interval: Bootstrap interval of the mean difference.
        median: Median of the differences.
        p: Two-sided p of the Wilcoxon signed-rank test; 1 if no case differs.
        effect: Matched-pairs rank-biserial correlation: the rank sum in favor of the first method
            minus that in favor of the second, divided by their sum; from -1 (the second is better
            in every case that differs) to 1.
        p_holm: ``p`` after Holm's correction for the classes tested together; NaN for a group that
            is not among them.
    """

    n: int
    n_different: int
    first: float
    second: float
    difference: float
    interval: Interval
    median: float
    p: float
    effect: float
    p_holm: float = math.nan


def compare_paired(
    first: Sequence[float],
    second: Sequence[float],
    *,
    seed: int = 0,
    interval: Interval | None = None,
) -> PairedComparison:
    """Compare two methods case by case.

    Cases in which one of the two scores is NaN are left out. Cases with equal scores are dropped
    from the ranks, as in Wilcoxon's original test. p is exact if cases are few and ranks are not
    tied; otherwise it comes from the normal approximation or a permutation test, as scipy chooses.

    Args:
        first: Scores of the first method, one per case.
        second: Scores of the second method, for the same cases in the same order.
        seed: Seed of the bootstrap interval.
        interval: The bootstrap interval if it is known already; None to compute it.

    Raises:
        InputError: The two have different lengths.
    """
    if len(first) != len(second):
        raise InputError(
            f"{len(first)} scores against {len(second)}; expected one per case from each method"
        )
    both = np.array([first, second], np.float64).reshape(2, -1)
    both = both[:, ~np.isnan(both).any(axis=0)]
    n = both.shape[1]
    if n == 0:
        nan = math.nan
        return PairedComparison(0, 0, nan, nan, nan, UNKNOWN, nan, nan, nan)
    # Without rounding, differences of the last bit would be ranked and equal differences not tie.
    differences = np.round(both[0] - both[1], 12)
    if interval is None:
        (interval,) = bootstrap(differences[:, None], [[0]], seed=seed)
    p, effect = signed_rank(differences)
    return PairedComparison(
        n=n,
        n_different=int(np.count_nonzero(differences)),
        first=float(both[0].mean()),
        second=float(both[1].mean()),
        difference=float(differences.mean()),
        interval=interval,
        median=float(np.median(differences)),
        p=p,
        effect=effect,
    )


def signed_rank(differences: Float64Array) -> tuple[float, float]:
    """Wilcoxon signed-rank test and its effect size.

    The effect size is the matched-pairs rank-biserial correlation (Kerby 2014).

    Args:
        differences: One per case; those that are 0 are dropped.

    Returns:
        Two-sided p and effect; 1 and 0 if all differences are 0.
    """
    from scipy import stats  # takes a second to load, and only comparisons need it

    nonzero = differences[differences != 0]
    if not nonzero.size:
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(nonzero))
    effect = float((ranks[nonzero > 0].sum() - ranks[nonzero < 0].sum()) / ranks.sum())
    return float(stats.wilcoxon(nonzero, zero_method="wilcox").pvalue), effect


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Correct p values for multiple tests by Holm's step-down method.

    Args:
        p_values: p values by name; NaN stays NaN and does not count as a test.
    """
    order = sorted(
        (name for name, p in p_values.items() if not math.isnan(p)), key=lambda name: p_values[name]
    )
    corrected, largest = dict.fromkeys(p_values, math.nan), 0.0
    for place, name in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[name]))
        corrected[name] = largest
    return corrected
