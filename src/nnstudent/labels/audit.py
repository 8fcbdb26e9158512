"""Training labels that look wrong: each label map of a cohort beside all others."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from nnstudent.cases import for_each_case
from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.errors import Failure, InputError
from nnstudent.evaluation.metrics import dsc
from nnstudent.evaluation.pairs import label_maps
from nnstudent.io.nifti import read_image, read_labels
from nnstudent.labels.class_maps import declared_names
from nnstudent.labels.form import measure_form
from nnstudent.labels.measure import measure
from nnstudent.labels.stats import FEWEST_CASES
from nnstudent.labels.suspicion import CaseFacts, Finding, find_suspicious, suspicion
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray
from nnstudent.volume import Volume

COLUMNS = ("rank", "case", "suspicion", "class", "kind", "deviations", "finding")


@dataclass(frozen=True)
class AuditedCase:
    """A case and what is suspicious about its labels.

    Attributes:
        id: The case.
        findings: What was found, worst first.
        suspicion: How suspicious it is, 0 for not at all.
    """

    id: str
    findings: tuple[Finding, ...]
    suspicion: float


@dataclass(frozen=True)
class Audit:
    """The label maps of a cohort, worst first.

    Attributes:
        cases: Every case that was looked at, the most suspicious first.
        failures: The cases that could not be read.
        notices: What a reader should know, one line each.
    """

    cases: tuple[AuditedCase, ...]
    failures: tuple[Failure, ...] = ()
    notices: tuple[str, ...] = ()

    @cached_property
    def suspicious(self) -> tuple[AuditedCase, ...]:
        """The cases with at least one finding."""
        return tuple(case for case in self.cases if case.findings)

    def to_csv(self) -> str:
        """Return a row for each finding, worst case first; cases without one are left out."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        for rank, case in enumerate(self.suspicious, start=1):
            for item in case.findings:
                table.writerow(
                    (
                        rank,
                        case.id,
                        f"{case.suspicion:.1f}",
                        item.name,
                        item.kind,
                        f"{item.deviations:.1f}",
                        item.text,
                    )
                )
        return text.getvalue()


@dataclass(frozen=True)
class _Prediction:
    """A predicted label map, and the table's id for each of its values."""

    path: Path
    ids: LabelArray


def audit(
    cohort: Cohort,
    *,
    predictions: Sequence[Path] = (),
    classes: Sequence[str] | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> Audit:
    """Look for label maps that are wrong, among the annotated classes of each case.

    Args:
        cohort: The cases; those without a label map are left out.
        predictions: Label maps of the same cases by a model that did not learn from them: folders
            of label maps, or nnU-Net model folders, whose folds' validations are taken.
        classes: Look at these classes only; None for all.
        threads: Cases read at a time.
        progress: Called before the first and after each case.

    Raises:
        InputError: No case has a label map, a class is not in the table, or predictions are
            missing or belong to none of the cases.
    """
    taxonomy = cohort.taxonomy
    wanted = set(taxonomy.names if classes is None else taxonomy.sorted(classes))
    cases = [case for case in cohort if case.label is not None and case.annotated & wanted]
    if not cases:
        raise InputError("no case of the cohort has a label map; expected labels to look at")
    predicted = _predictions(predictions, taxonomy)
    if predictions and not predicted.keys() & {case.id for case in cases}:
        some = ", ".join(sorted(predicted)[:3]) or "none"
        raise InputError(
            f"{predictions[0]}: has label maps of {some}, which are no cases of the cohort"
        )

    def work(case: Case) -> CaseFacts:
        names = taxonomy.sorted(case.annotated & wanted)
        return _facts(case, names, taxonomy, prediction=predicted.get(case.id))

    outcomes = for_each_case(
        cases,
        work,
        files=lambda case: (case.image, case.label),
        what="cases",
        threads=threads,
        progress=progress,
    )
    facts = [result for _, result in outcomes.results]
    findings: dict[str, list[Finding]] = {case.id: [] for case in facts}
    for finding in find_suspicious(facts, taxonomy):
        findings[finding.case].append(finding)
    audited = [AuditedCase(id, tuple(found), suspicion(found)) for id, found in findings.items()]
    audited.sort(key=lambda case: (-case.suspicion, case.id))
    return Audit(tuple(audited), outcomes.failures, _notices(facts, predictions, predicted))


def _notices(
    facts: Sequence[CaseFacts], predictions: Sequence[Path], predicted: Mapping[str, _Prediction]
) -> tuple[str, ...]:
    notices = []
    if len(facts) < FEWEST_CASES:
        notices.append(
            f"{len(facts)} cases are too few to compare with each other (at least {FEWEST_CASES}); "
            "only sides were checked"
        )
    without = sum(case.id not in predicted for case in facts)
    if predictions and without:
        notices.append(f"{without} of {len(facts)} cases have no prediction")
    return tuple(notices)


def case_facts(
    id: str, image: Volume, labels: Volume, *, names: Sequence[str], taxonomy: Taxonomy
) -> CaseFacts:
    """Return what is compared with the other cases.

    Args:
        id: The case.
        image: The image, in HU.
        labels: Its label map.
        names: The annotated classes.
        taxonomy: The label table.

    Raises:
        GeometryError: The label map is on another grid.
    """
    measures = measure(labels, taxonomy=taxonomy, image=image, classes=names)
    size = np.array(labels.grid.shape[::-1]) - 1
    corners = [
        (labels.grid.affine @ [*(np.array(index) * size), 1])[:3] for index in np.ndindex(2, 2, 2)
    ]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    return CaseFacts(
        id,
        {item.name: item for item in measures},
        measure_form(labels, taxonomy=taxonomy, image=image, classes=names),
        (float(low[0]), float(low[1]), float(low[2])),
        (float(high[0]), float(high[1]), float(high[2])),
    )


def _facts(
    case: Case, names: Sequence[str], taxonomy: Taxonomy, *, prediction: _Prediction | None
) -> CaseFacts:
    image, labels = read_image(case.image), read_labels(case.label or Path())
    facts = case_facts(case.id, image, labels, names=names, taxonomy=taxonomy)
    if prediction is None:
        return facts
    return replace(facts, dsc=_dsc_by_class(labels, prediction, names, taxonomy))


def _dsc_by_class(
    labels: Volume, prediction: _Prediction, names: Sequence[str], taxonomy: Taxonomy
) -> dict[str, float]:
    """DSC of each class that the prediction knows."""
    other = read_labels(prediction.path)
    labels.grid.require(
        other.grid, what=str(prediction.path), of="the label map", advice="predict this image"
    )
    found = prediction.ids[other.array]
    known = set(prediction.ids.tolist())
    return {
        name: dsc(found == taxonomy[name].id, labels.array == taxonomy[name].id)
        for name in names
        if taxonomy[name].id in known
    }


def _predictions(paths: Sequence[Path], taxonomy: Taxonomy) -> dict[str, _Prediction]:
    """The predicted label maps by case, the first of several."""
    found: dict[str, _Prediction] = {}
    for path in paths:
        folds = sorted(path.glob("fold_*/validation")) if path.is_dir() else []
        if (path / "plans.json").is_file() and not folds:
            raise InputError(
                f"{path}: a model whose folds have no validation/; "
                "expected predictions of cases that it did not learn from"
            )
        names = declared_names(path if path.is_dir() else path.parent)
        ids = np.arange(256, dtype=np.uint8)
        if names:
            ids[:] = 0
            for name, value in names.items():
                ids[value] = taxonomy[name].id if name in taxonomy.names else 0
        for folder in folds or [path]:
            for id, file in label_maps(folder, what="predictions").items():
                found.setdefault(id, _Prediction(file, ids))
    return found
