"""Two methods on the same cases: per class and for the means, case by case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnstudent.errors import InputError
from nnstudent.evaluation.scores import CaseScores, Scores
from nnstudent.evaluation.statistics import LEVEL, Comparison, bootstrap, compare, holm

METRICS = ("dsc", "nsd")


@dataclass(frozen=True)
class Against:
    """A paired comparison.

    Attributes:
        cases: Ids of the cases that rest on both sides.
        only_first: Ids of those that only the first has.
        only_second: Ids of those that only the second has.
        results: By class or group (``organs``, ``tumor``), then by metric (``dsc``, ``nsd``).
    """

    cases: Sequence[str]
    only_first: Sequence[str]
    only_second: Sequence[str]
    results: Mapping[str, Mapping[str, Comparison]]

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON; NaN becomes None."""
        return {
            "cases": list(self.cases),
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
            "test": "Wilcoxon signed-rank, two-sided; effect: matched-pairs rank-biserial; difference: first minus second",
            "level": LEVEL,
            "results": {
                name: {metric: _plain(result) for metric, result in by_metric.items()}
                for name, by_metric in self.results.items()
            },
        }


def against(first: Scores, second: Scores, *, seed: int = 0) -> Against:
    """Compare two evaluations of the same truth.

    A case counts if both have it; one without a prediction has scores of 0 there unless ``common_only`` left it out.

    Args:
        first: The method asked about.
        second: What it is compared to.
        seed: Of the bootstrap intervals.

    Raises:
        InputError: They have no case in common, or were not scored the same way.
    """
    if first.protocol != second.protocol or first.taxonomy.names != second.taxonomy.names:
        raise InputError(
            f"scores by protocol {first.protocol.name}, label table {first.taxonomy.name}, and by {second.protocol.name}, "
            f"{second.taxonomy.name}; score both the same way"
        )
    ours, theirs = ({case.id: case for case in scores.cases} for scores in (first, second))
    common = [id for id in ours if id in theirs]
    if not common:
        raise InputError("no case was scored on both sides; give predictions of the same cases")
    classes = [
        name
        for name in first.taxonomy.names
        if any(name in ours[id].scores and name in theirs[id].scores for id in common)
    ]
    groups: dict[str, Sequence[str]] = {name: [name] for name in classes}
    for group, members in first.groups().items():
        if group not in classes and any(name in classes for name in members):
            groups[group] = [name for name in members if name in classes]
    results: dict[str, dict[str, Comparison]] = {name: {} for name in groups}
    for metric in METRICS:
        # (group, case, side); the same draws for all, as for the means
        pairs = np.array(
            [
                [_pair(ours[id], theirs[id], averaged, metric) for id in common]
                for averaged in groups.values()
            ]
        )
        pairs = pairs.reshape(
            len(groups), len(common), 2
        )  # also where no class was scored on both sides
        intervals = bootstrap(
            (pairs[..., 0] - pairs[..., 1]).T,
            [[column] for column in range(len(groups))],
            seed=seed,
        )
        for name, both, interval in zip(groups, pairs, intervals, strict=True):
            results[name][metric] = compare(
                both[:, 0].tolist(), both[:, 1].tolist(), interval=interval
            )
        for name, p in holm({name: results[name][metric].p for name in classes}).items():
            results[name][metric] = replace(results[name][metric], p_holm=p)
    return Against(
        common,
        [id for id in ours if id not in theirs],
        [id for id in theirs if id not in ours],
        results,
    )


def _pair(
    one: CaseScores, other: CaseScores, names: Sequence[str], metric: str
) -> tuple[float, float]:
    """A case's own mean on both sides, over the classes that both scored; NaN if there is none."""
    shared = [name for name in names if name in one.scores and name in other.scores]
    if not shared:
        return math.nan, math.nan
    a, b = (
        float(np.mean([getattr(case.scores[name], metric) for name in shared]))
        for case in (one, other)
    )
    return a, b


def _plain(result: Comparison) -> dict[str, Any]:
    values = {
        "first": result.first, "second": result.second, "difference": result.difference, "median": result.median,
        "p": result.p, "p_holm": result.p_holm, "effect": result.effect,
    }  # fmt: skip
    bounds = None if math.isnan(result.interval[0]) else list(result.interval)
    known = {name: None if math.isnan(value) else value for name, value in values.items()}
    return {"n": result.n, "differ": result.differ, **known, "interval": bounds}
