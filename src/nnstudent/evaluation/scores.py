"""Scores per case and class, and their means, as data, JSON and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.errors import Failure
from nnstudent.evaluation.lesions import Detection, DetectionSummary, summarize
from nnstudent.evaluation.protocols import ClassScore, Protocol
from nnstudent.evaluation.statistics import LEVEL, RESAMPLES, UNKNOWN, Interval, bootstrap
from nnstudent.io.atomic import write_text
from nnstudent.taxonomy import Taxonomy

ORGANS, TUMOR = "organs", "tumor"


@dataclass(frozen=True)
class CaseScores:
    """Scores of one case.

    Attributes:
        id: The case's id.
        prediction: The predicted label map; None if it is missing, so that every class scores 0.
        truth: The true label map.
        scores: Scores by class name; classes that are not annotated are left out.
        left_out: Annotated classes that were not scored, with the reason.
        warnings: What a reader of the scores should know about the case.
        lesions: Detection of lesions for each lesion class that was scored.
        present: Names of the classes in the truth.
    """

    id: str
    prediction: Path | None
    truth: Path
    scores: Mapping[str, ClassScore]
    left_out: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    lesions: Mapping[str, Detection] = field(default_factory=dict)
    present: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Mean:
    """A mean over cases.

    Attributes:
        dsc: Mean DSC; NaN if there is no case.
        nsd: Mean NSD; NaN if there is no case.
        dsc_sd: Sample standard deviation of DSC between cases (n - 1); NaN with fewer than two
            cases.
        nsd_sd: The same for NSD.
        dsc_median: Median DSC over the cases; for a group, over the cases' own means.
        nsd_median: The same for NSD.
        dsc_interval: 95 % bootstrap interval of the mean DSC; NaN with fewer than two cases.
        nsd_interval: The same for NSD.
        n: Number of cases.
    """

    dsc: float
    nsd: float
    dsc_sd: float
    nsd_sd: float
    dsc_median: float
    nsd_median: float
    dsc_interval: Interval
    nsd_interval: Interval
    n: int

    def to_dict(self) -> dict[str, Any]:
        """The mean as plain data for JSON; NaN becomes None."""
        values = {
            f"{metric}{what}": _number(getattr(self, f"{metric}{what}"))
            for what in ("", "_sd", "_median")
            for metric in ("dsc", "nsd")
        }
        bounds = {"dsc_interval": self.dsc_interval, "nsd_interval": self.nsd_interval}
        return {
            **values,
            **{
                name: None if math.isnan(low) else [low, high]
                for name, (low, high) in bounds.items()
            },
            "n": self.n,
        }


@dataclass(frozen=True)
class Scores:
    """Scores of all cases.

    Attributes:
        protocol: How scores were computed and averaged.
        taxonomy: The label table.
        cases: The scored cases.
        failures: Cases that could not be scored; they are in no mean.
        missing: Ids of cases with truth but without a prediction.
        without_truth: Names of predictions that have no truth.
        common_only: Whether cases without a prediction were left out instead of scoring 0.
        notes: What a reader of the means should know.
        seed: Seed of the bootstrap intervals.
    """

    protocol: Protocol
    taxonomy: Taxonomy
    cases: Sequence[CaseScores]
    failures: Sequence[Failure] = ()
    missing: Sequence[str] = ()
    without_truth: Sequence[str] = ()
    common_only: bool = False
    notes: Sequence[str] = ()
    seed: int = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that were scored in at least one case."""
        return self.taxonomy.sorted({name for case in self.cases for name in case.scores})

    def of(self, name: str) -> list[ClassScore]:
        """The scores of a class, in the order of the cases."""
        return [case.scores[name] for case in self.cases if name in case.scores]

    def detection(self) -> dict[str, DetectionSummary]:
        """Detection of lesions for each lesion class, over the cases that were scored on it."""
        names = [
            name
            for name in self.taxonomy.lesions
            if any(name in case.lesions for case in self.cases)
        ]
        return {
            name: summarize(case.lesions[name] for case in self.cases if name in case.lesions)
            for name in names
        }

    def means(self) -> dict[str, Mean]:
        """The means of ``organs``, ``tumor`` and each scored class.

        The mean of a group is the mean of its classes' means; its deviation and median are those of
        the cases' own means.
        """
        single = {name: [name] for name in self.classes}
        groups = {
            name: [item for item in items if item in single]
            for name, items in self.groups().items()
        } | single
        # A class of the table that has the name of a group takes the group's place.
        intervals = {
            metric: self._intervals(list(groups.values()), metric) for metric in ("dsc", "nsd")
        }
        bounds = zip(groups.items(), intervals["dsc"], intervals["nsd"], strict=True)
        return {
            name: self._mean(items, dsc_bounds, nsd_bounds)
            for (name, items), dsc_bounds, nsd_bounds in bounds
        }

    def groups(self) -> dict[str, tuple[str, ...]]:
        """The classes that are averaged together."""
        return {ORGANS: self.taxonomy.organs, TUMOR: self.taxonomy.lesions}

    def _intervals(self, groups: Sequence[Sequence[str]], metric: str) -> list[Interval]:
        place = {name: column for column, name in enumerate(self.classes)}
        table = np.full((len(self.cases), len(place)), np.nan)
        undefined = set()
        for row, case in enumerate(self.cases):
            for name, score in case.scores.items():
                table[row, place[name]] = getattr(score, metric)
                if math.isnan(getattr(score, metric)):  # then so is the mean
                    undefined.add(name)
        found = bootstrap(
            table, [[place[name] for name in names] for names in groups], seed=self.seed
        )
        return [
            UNKNOWN if undefined.intersection(names) else bounds
            for names, bounds in zip(groups, found, strict=True)
        ]

    def _mean(self, names: Sequence[str], dsc_interval: Interval, nsd_interval: Interval) -> Mean:
        per_case = [
            [case.scores[name] for name in names if name in case.scores] for case in self.cases
        ]
        own = [scores for scores in per_case if scores]
        dsc, nsd = (
            [float(np.mean([getattr(score, metric) for score in scores])) for scores in own]
            for metric in ("dsc", "nsd")
        )
        return Mean(
            dsc=self.protocol.mean(
                self.protocol.mean(score.dsc for score in self.of(name)) for name in names
            ),
            nsd=self.protocol.mean(
                self.protocol.mean(score.nsd for score in self.of(name)) for name in names
            ),
            dsc_sd=_deviation(dsc),
            nsd_sd=_deviation(nsd),
            dsc_median=float(np.median(dsc)) if dsc else math.nan,
            nsd_median=float(np.median(nsd)) if nsd else math.nan,
            dsc_interval=dsc_interval,
            nsd_interval=nsd_interval,
            n=len(own),
        )

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain data for JSON; NaN becomes None."""
        return {
            "protocol": self.protocol.name,
            "taxonomy": self.taxonomy.name,
            "classes": list(self.classes),
            "cases": [
                {
                    "id": case.id,
                    "prediction": None if case.prediction is None else str(case.prediction),
                    "truth": str(case.truth),
                    "dsc": {name: _number(score.dsc) for name, score in case.scores.items()},
                    "nsd": {name: _number(score.nsd) for name, score in case.scores.items()},
                    "lesions": {name: found.to_dict() for name, found in case.lesions.items()},
                    "left_out": dict(case.left_out),
                    "warnings": list(case.warnings),
                }
                for case in self.cases
            ],
            "mean": {name: mean.to_dict() for name, mean in self.means().items()},
            "interval": {
                "level": LEVEL,
                "resamples": RESAMPLES,
                "seed": self.seed,
                "method": "percentile bootstrap over cases",
            },
            "lesions": {name: found.to_dict() for name, found in self.detection().items()},
            "missing": list(self.missing),
            "common_only": self.common_only,
            "without_truth": list(self.without_truth),
            "failures": [
                {"id": failure.case, "reason": failure.reason} for failure in self.failures
            ],
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """CSV with one row per case and class, then one per mean (case ``mean``); NaN is empty."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["case", "class", "dsc", "nsd", "n"])
        for case in self.cases:
            rows.writerows(
                [case.id, name, _cell(score.dsc), _cell(score.nsd), 1]
                for name, score in case.scores.items()
            )
        rows.writerows(
            ["mean", name, _cell(mean.dsc), _cell(mean.nsd), mean.n]
            for name, mean in self.means().items()
        )
        return text.getvalue()

    def write_csv(self, path: Path) -> None:
        """Write the result of :meth:`to_csv` atomically.

        Raises:
            OutputError: The file cannot be written.
        """
        write_text(path, self.to_csv())


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
