"""Pseudo-labels are written case by case; one that is up to date is kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nnstudent.cases import for_each_case
from nnstudent.cohort.cohort import Case
from nnstudent.cohort.uncertainty import (
    Uncertainty,
    has_uncertainty,
    remove_uncertainty,
    write_uncertainty,
)
from nnstudent.errors import Failure, InputError
from nnstudent.io.lock import writing
from nnstudent.io.nifti import write_labels
from nnstudent.io.parts import WHOLE, begin_part, end_part, forget_parts
from nnstudent.io.record import is_made_from, write_record
from nnstudent.progress import Progress
from nnstudent.pseudo.pseudo_label import PseudoLabel, pseudo_label_paths, read_pseudo_label
from nnstudent.pseudo.settings import LabelSettings
from nnstudent.pseudo.stability import record_change
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Labeled:
    """A pseudo-label that is not written yet.

    Attributes:
        labels: Ids of the label table on the image's grid.
        record: Its record, without what follows from the label map.
        uncertainty: Uncertainty of each voxel; None if it was not asked for.
    """

    labels: Volume
    record: PseudoLabel
    uncertainty: Uncertainty | None = None


class Labeler(Protocol):
    """Where pseudo-labels come from."""

    def made_from(self, case: Case) -> Any:
        """Return plain data that decides the label of a case."""

    def label(self, case: Case) -> Labeled:
        """Label a case."""


@dataclass(frozen=True)
class LabelResult:
    """What ``label`` did.

    Attributes:
        labels: The pseudo-labels of these cases, made now or before, in the cohort's order.
        made: Ids of the cases that were labeled now.
        absent: Ids of the cases without a label map in the folder that labels were taken from.
        failures: The cases that failed.
        notices: What the user should know, one line each.
    """

    labels: tuple[PseudoLabel, ...]
    made: tuple[str, ...]
    absent: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def mean_change(self) -> float | None:
        """Mean over the cases of the change since the previous round; None if there was none."""
        last = [item.changes[-1] for item in self.labels if item.changes]
        return sum(last) / len(last) if last else None


def write_pseudo_labels(
    cases: Sequence[Case],
    out: Path,
    *,
    labeler: Labeler,
    taxonomy: Taxonomy,
    settings: LabelSettings,
    progress: Progress,
) -> LabelResult:
    """Label the cases and write each pseudo-label with its record.

    Args:
        cases: The cases.
        out: Folder to write to.
        labeler: Labels them.
        taxonomy: The label table.
        settings: What is recorded of them.
        progress: Called after each case.

    Raises:
        OutputError: ``out`` cannot be written to.
    """

    def work(case: Case) -> tuple[bool, PseudoLabel | None]:
        uncertainty = settings.uncertainty
        made = _write(case, out, labeler=labeler, taxonomy=taxonomy, uncertainty=uncertainty)
        if settings.previous is not None:
            record_change(case, out, previous=settings.previous, taxonomy=taxonomy)
        return made, read_pseudo_label(out, case.id)

    with writing(out, part=settings.part.share):
        begin_part(out, settings.part)
        results, failures = for_each_case(
            cases,
            work,
            files=lambda case: (case.image, case.label),
            what="label",
            progress=progress,
        )
        if settings.part == WHOLE:
            forget_parts(out)
        else:  # not before its last case has ended
            end_part(out, settings.part, settings=None, data={"cases": [case.id for case in cases]})
    return LabelResult(
        labels=tuple(item for _, (_, item) in results if item is not None),
        made=tuple(case.id for case, (made, _) in results if made),
        failures=failures,
    )


def _write(
    case: Case, out: Path, *, labeler: Labeler, taxonomy: Taxonomy, uncertainty: bool
) -> bool:
    """Write what a case's pseudo-label lacks; returns whether it lacked anything."""
    start = time.perf_counter()
    path, record_path = pseudo_label_paths(out, case.id)
    made_from = labeler.made_from(case)
    is_current = is_made_from(record_path, made_from) and _is_readable(out, case)
    if is_current and (has_uncertainty(out, case.id) or not uncertainty):
        return False
    labeled = labeler.label(case)
    grid = labeled.labels.grid
    if not is_current:
        record_path.unlink(missing_ok=True)  # never an old record beside a new map
        remove_uncertainty(out, case.id)
    if labeled.uncertainty is not None:
        write_uncertainty(out, case.id, labeled.uncertainty, grid, like=case.image)
    if is_current:  # written again, the label map would have everything made from it made again
        return True
    sizes = np.bincount(labeled.labels.array.ravel(), minlength=256)
    volume = {
        item.name: float(sizes[item.id] * grid.voxel_ml) for item in taxonomy if sizes[item.id]
    }
    write_labels(path, labeled.labels, like=case.image)
    confidence = labeled.record.confidence
    record = replace(
        labeled.record,
        found=tuple(volume),
        volume_ml=volume,
        confidence={name: confidence[name] for name in volume if name in confidence},
        seconds=time.perf_counter() - start,
    )
    write_record(record_path, stage="label", made_from=made_from, files=[path], **record.to_dict())
    return True


def _is_readable(out: Path, case: Case) -> bool:
    try:
        return read_pseudo_label(out, case.id) is not None
    except InputError as error:
        log.warning("%s; it is made again", error)
        return False
