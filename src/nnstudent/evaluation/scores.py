"""Scores as data: per case, per class, and the means; as JSON, CSV and text."""

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
from nnstudent.io.atomic import write_text
from nnstudent.taxonomy import Taxonomy

ORGANS, TUMOR = "organs", "tumor"


@dataclass(frozen=True)
class CaseScores:
    """What one case scored.

    Attributes:
        id: The case.
        prediction: The file scored, None where it is missing (every class then scores 0).
        truth: The file scored against.
        scores: By class name; classes that are not annotated are not in it.
        left_out: Annotated classes that were not scored, and why.
        warnings: What a reader of the scores should know about the case.
        lesions: Of each lesion class that was scored: which lesions were found.
    """

    id: str
    prediction: Path | None
    truth: Path
    scores: Mapping[str, ClassScore]
    left_out: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    lesions: Mapping[str, Detection] = field(default_factory=dict)


@dataclass(frozen=True)
class Mean:
    """A mean over cases.

    Attributes:
        dsc: Mean DSC, NaN where there is no case.
        nsd: Mean NSD.
        dsc_sd: Standard deviation between cases (of a sample: n - 1), NaN where there are fewer than two.
        nsd_sd: The same of the NSD.
        n: How many cases it rests on.
    """

    dsc: float
    nsd: float
    dsc_sd: float
    nsd_sd: float
    n: int


@dataclass(frozen=True)
class Scores:
    """What an evaluation found.

    Attributes:
        protocol: What was counted how.
        taxonomy: The label table.
        cases: The scored cases.
        failures: Cases that could not be scored; they are in no mean.
        missing: Ids of cases with truth and without a prediction.
        without_truth: Names of predictions that no truth belongs to.
        common_only: Whether the missing were left out of the means instead of scoring 0.
        notes: What a reader of the means should know.
    """

    protocol: Protocol
    taxonomy: Taxonomy
    cases: Sequence[CaseScores]
    failures: Sequence[Failure] = ()
    missing: Sequence[str] = ()
    without_truth: Sequence[str] = ()
    common_only: bool = False
    notes: Sequence[str] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that were scored in at least one case."""
        return self.taxonomy.sorted({name for case in self.cases for name in case.scores})

    def of(self, name: str) -> list[ClassScore]:
        """The scores of a class, in the order of the cases that have it."""
        return [case.scores[name] for case in self.cases if name in case.scores]

    def detection(self) -> dict[str, DetectionSummary]:
        """Lesion-wise detection of each lesion class, over the cases that were scored on it."""
        names = [name for name in self.taxonomy.lesions if any(name in case.lesions for case in self.cases)]
        return {name: summarize(case.lesions[name] for case in self.cases if name in case.lesions) for name in names}

    def means(self) -> dict[str, Mean]:
        """``organs``, ``tumor`` and each scored class.

        The mean of a group is the mean of its classes' means; its deviation is that of the cases' own means.
        """
        single = {name: self._mean([name]) for name in self.classes}
        groups = {ORGANS: self.taxonomy.organs, TUMOR: self.taxonomy.lesions}
        return {name: self._mean([item for item in items if item in single]) for name, items in groups.items()} | single

    def _mean(self, names: Sequence[str]) -> Mean:
        per_case = [[case.scores[name] for name in names if name in case.scores] for case in self.cases]
        own = [scores for scores in per_case if scores]
        return Mean(
            dsc=self.protocol.mean(self.protocol.mean(score.dsc for score in self.of(name)) for name in names),
            nsd=self.protocol.mean(self.protocol.mean(score.nsd for score in self.of(name)) for name in names),
            dsc_sd=_deviation([float(np.mean([score.dsc for score in scores])) for scores in own]),
            nsd_sd=_deviation([float(np.mean([score.nsd for score in scores])) for scores in own]),
            n=len(own),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON: ``protocol``, ``cases``, ``mean`` and what was not scored; NaN becomes None."""
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
            "mean": {
                name: {
                    "dsc": _number(mean.dsc), "nsd": _number(mean.nsd),
                    "dsc_sd": _number(mean.dsc_sd), "nsd_sd": _number(mean.nsd_sd), "n": mean.n,
                }
                for name, mean in self.means().items()
            },
            "lesions": {name: found.to_dict() for name, found in self.detection().items()},
            "missing": list(self.missing),
            "common_only": self.common_only,
            "without_truth": list(self.without_truth),
            "failures": [{"id": failure.case, "reason": failure.reason} for failure in self.failures],
            "notes": list(self.notes),
        }  # fmt: skip

    def to_csv(self) -> str:
        """One row a case and class, then one a mean (case ``mean``, with n); NaN is left empty."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["case", "class", "dsc", "nsd", "n"])
        for case in self.cases:
            rows.writerows([case.id, name, _cell(score.dsc), _cell(score.nsd), 1] for name, score in case.scores.items())
        rows.writerows(["mean", name, _cell(mean.dsc), _cell(mean.nsd), mean.n] for name, mean in self.means().items())
        return text.getvalue()

    def write_csv(self, path: Path) -> None:
        """Write :meth:`to_csv`, whole or not at all.

        Raises:
            OutputError: It cannot be written.
        """
        write_text(path, self.to_csv())


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
