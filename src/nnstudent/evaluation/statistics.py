"""How sure a mean is, and whether two methods differ: bootstrap intervals and paired tests over cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError

Values = npt.NDArray[np.float64]
Interval = tuple[float, float]
RESAMPLES = 5000
LEVEL = 0.95
UNKNOWN: Interval = (math.nan, math.nan)
_AT_ONCE = 500  # resamples that are drawn together: memory is this many times the cases


def bootstrap(
    table: Values,
    groups: Sequence[Sequence[int]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> list[Interval]:
    """Percentile bootstrap intervals of means of columns' means, cases drawn with replacement.

    The same cases are drawn for all columns, so that classes scored in one case stay together. A column that a resample has no case of
    is left out of that resample.

    Args:
        table: Scores, (case, column); NaN where a case was not scored on that column.
        groups: For each interval the columns whose means it averages.
        seed: Decides which cases are drawn.
        resamples: How often.
        level: Part of the resamples that the interval holds.

    Returns:
        Lower and upper bound of each group; NaN where it rests on fewer than two cases.

    Raises:
        InputError: The level is not between 0 and 1, or there is not one resample.
    """
    if not 0 < level < 1 or resamples < 1:
        raise InputError(
            f"{resamples} bootstrap resamples at a level of {level}; expected at least one, and a level between 0 and 1"
        )
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
    for start in range(0, resamples, _AT_ONCE):
        size = min(_AT_ONCE, resamples - start)
        drawn = rng.multinomial(cases, np.full(cases, 1 / cases), size=size).astype(np.float64)
        sums, counts = drawn @ filled, drawn @ counted
        columns = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
        for place, group in enumerate(groups):
            part = columns[:, list(group)]
            there = ~np.isnan(part)
            number = there.sum(axis=1)
            total = np.where(there, part, 0.0).sum(axis=1)
            means[start : start + size, place] = np.divide(
                total, number, out=np.full(size, np.nan), where=number > 0
            )
    tail = 50 * (1 - level)
    intervals = []
    for place, usable in enumerate(enough):
        low, high = np.nanpercentile(means[:, place], [tail, 100 - tail]) if usable else UNKNOWN
        intervals.append((float(low), float(high)))
    return intervals


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same cases; differences are the first minus the second.

    Attributes:
        n: Cases that both have a score of.
        differ: Cases in which these differ; the test rests on them alone.
        first: Mean of the first method over these cases, NaN if there is none.
        second: Mean of the second.
        difference: Mean of the differences.
        interval: Bootstrap interval of this mean.
        median: Median of the differences.
        p: Two-sided p of the Wilcoxon signed-rank test; 1 if no case differs.
        effect: Matched-pairs rank-biserial correlation: the rank sum in favor of the first minus that in favor of the second, over
            both; from -1 (the second is better wherever they differ) to 1.
        p_holm: ``p`` corrected by Holm for the classes tested together, NaN where it is not one of these.
    """

    n: int
    differ: int
    first: float
    second: float
    difference: float
    interval: Interval
    median: float
    p: float
    effect: float
    p_holm: float = math.nan


def compare(
    first: Sequence[float],
    second: Sequence[float],
    *,
    seed: int = 0,
    interval: Interval | None = None,
) -> Comparison:
    """Compare two methods case by case.

    Cases where one of the two is NaN are left out. Equal cases are dropped from the ranks (Wilcoxon's own way); p is exact where
    cases are few and ranks are not tied, else by the normal approximation or by permutation, as scipy chooses.

    Args:
        first: A score a case.
        second: Scores of the other method, of the same cases in the same order.
        seed: Of the bootstrap interval.
        interval: That interval, where it is known already; None to compute it.

    Raises:
        InputError: The two are not of the same length.
    """
    if len(first) != len(second):
        raise InputError(
            f"{len(first)} scores against {len(second)}; expected one of each method a case"
        )
    both = np.array([first, second], np.float64).reshape(2, -1)
    both = both[:, ~np.isnan(both).any(axis=0)]
    n = both.shape[1]
    if n == 0:
        return Comparison(0, 0, math.nan, math.nan, math.nan, UNKNOWN, math.nan, math.nan, math.nan)
    # Rounded, or a difference that is 0 but for the last bit would be ranked, and equal differences would not tie.
    differences = np.round(both[0] - both[1], 12)
    if interval is None:
        (interval,) = bootstrap(differences[:, None], [[0]], seed=seed)
    p, effect = signed_rank(differences)
    return Comparison(
        n=n,
        differ=int(np.count_nonzero(differences)),
        first=float(both[0].mean()),
        second=float(both[1].mean()),
        difference=float(differences.mean()),
        interval=interval,
        median=float(np.median(differences)),
        p=p,
        effect=effect,
    )


def signed_rank(differences: Values) -> tuple[float, float]:
    """Two-sided p of the Wilcoxon signed-rank test, and the matched-pairs rank-biserial correlation (Kerby 2014).

    Args:
        differences: One a case; those that are 0 are dropped.

    Returns:
        p and effect; 1 and 0 if no difference is left.
    """
    from scipy import stats  # takes a second to load, and only comparisons need it

    left = differences[differences != 0]
    if not left.size:
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(left))
    effect = float((ranks[left > 0].sum() - ranks[left < 0].sum()) / ranks.sum())
    return float(stats.wilcoxon(left, zero_method="wilcox").pvalue), effect


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Correct p values for being many, by Holm's step-down method.

    Args:
        p_values: By name; NaN stays NaN and does not count.
    """
    order = sorted(
        (name for name, p in p_values.items() if not math.isnan(p)), key=lambda name: p_values[name]
    )
    corrected, largest = dict.fromkeys(p_values, math.nan), 0.0
    for place, name in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[name]))
        corrected[name] = largest
    return corrected
