"""Comparison of two methods on the same cases, per class and for the means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnstudent.errors import InputError
from nnstudent.evaluation.scores import CaseScores, Scores
from nnstudent.evaluation.statistics import (
    LEVEL,
    PairedComparison,
    bootstrap,
    compare_paired,
    holm,
)

METRICS = ("dsc", "nsd")


@dataclass(frozen=True)
class MethodComparison:
    """A paired comparison of two methods.

    Attributes:
        cases: Ids of the cases that both methods have.
        only_first: Ids of the cases that only the first method has.
        only_second: Ids of the cases that only the second method has.
        results: By class or group (``organs``, ``tumor``), then by metric (``dsc``, ``nsd``).
    """

    cases: Sequence[str]
    only_first: Sequence[str]
    only_second: Sequence[str]
    results: Mapping[str, Mapping[str, PairedComparison]]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data for JSON; NaN becomes None."""
        return {
            "cases": list(self.cases),
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
            "test": "Wilcoxon signed-rank, two-sided; effect: matched-pairs rank-biserial; "
            "difference: first minus second",
            "level": LEVEL,
            "results": {
                name: {metric: _plain(result) for metric, result in by_metric.items()}
                for name, by_metric in self.results.items()
            },
        }


def compare_methods(first: Scores, second: Scores, *, seed: int = 0) -> MethodComparison:
    """Compare two evaluations on the same truth.

    Cases that both methods have are compared. A case without a prediction scores 0, unless
    ``common_only`` left it out.

    Args:
        first: Scores of the method under test.
        second: Scores of the method that it is compared with.
        seed: Seed of the bootstrap intervals.

    Raises:
        InputError: The methods have no case in common, or were not scored in the same way.
    """
    if first.protocol != second.protocol or first.taxonomy.names != second.taxonomy.names:
        raise InputError(
            f"scores by protocol {first.protocol.name}, label table {first.taxonomy.name}, and by "
            f"{second.protocol.name}, {second.taxonomy.name}; score both in the same way"
        )
    ours, theirs = ({case.id: case for case in scores.cases} for scores in (first, second))
    common = [id for id in ours if id in theirs]
    if not common:
        raise InputError("no case was scored on both sides; give predictions of the same cases")
    pairs = [(ours[id], theirs[id]) for id in common]
    classes = [
        name
        for name in first.taxonomy.names
        if any(name in one.scores and name in other.scores for one, other in pairs)
    ]
    groups: dict[str, Sequence[str]] = {name: [name] for name in classes}
    for group, members in first.groups().items():
        if group not in classes and any(name in classes for name in members):
            groups[group] = [name for name in members if name in classes]
    results: dict[str, dict[str, PairedComparison]] = {name: {} for name in groups}
    for metric in METRICS:
        compared = _compare_groups(pairs, groups, metric, seed=seed)
        corrected = holm({name: compared[name].p for name in classes})
        for name, result in compared.items():
            p_holm = corrected.get(name, math.nan)
            results[name][metric] = replace(result, p_holm=p_holm)
    return MethodComparison(
        cases=common,
        only_first=[id for id in ours if id not in theirs],
        only_second=[id for id in theirs if id not in ours],
        results=results,
    )


def _compare_groups(
    pairs: Sequence[tuple[CaseScores, CaseScores]],
    groups: Mapping[str, Sequence[str]],
    metric: str,
    *,
    seed: int,
) -> dict[str, PairedComparison]:
    """Compare each group by one metric; the same bootstrap draws serve all groups."""
    values = np.array(
        [[_case_means(pair, names, metric) for pair in pairs] for names in groups.values()]
    )
    # (group, case, method); the shape must hold even if no class was scored on both sides
    values = values.reshape(len(groups), len(pairs), 2)
    intervals = bootstrap(
        (values[..., 0] - values[..., 1]).T,
        [[column] for column in range(len(groups))],
        seed=seed,
    )
    return {
        name: compare_paired(both[:, 0].tolist(), both[:, 1].tolist(), interval=interval)
        for name, both, interval in zip(groups, values, intervals, strict=True)
    }


def _case_means(
    pair: tuple[CaseScores, CaseScores], names: Sequence[str], metric: str
) -> tuple[float, float]:
    """A case's mean by each method, over the classes that both scored; NaN if there is none."""
    shared = [name for name in names if all(name in case.scores for case in pair)]
    if not shared:
        return math.nan, math.nan
    first, second = (
        float(np.mean([getattr(case.scores[name], metric) for name in shared])) for case in pair
    )
    return first, second


def _plain(result: PairedComparison) -> dict[str, Any]:
    values = {
        "first": result.first,
        "second": result.second,
        "difference": result.difference,
        "median": result.median,
        "p": result.p,
        "p_holm": result.p_holm,
        "effect": result.effect,
    }
    interval = None if math.isnan(result.interval[0]) else list(result.interval)
    known = {name: None if math.isnan(value) else value for name, value in values.items()}
    return {"n": result.n, "n_different": result.n_different, **known, "interval": interval}
