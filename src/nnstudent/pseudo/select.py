"""``select``: choose the pseudo-labels to learn from and fuse them with the truth."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnstudent.cases import for_each_case
from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.cohort.index import reading_threads
from nnstudent.cohort.ledger import LEDGER_NAME, write_ledger
from nnstudent.cohort.uncertainty import has_uncertainty
from nnstudent.errors import Failure, InputError
from nnstudent.io.hashes import FileHashes, hashes_path
from nnstudent.io.lock import writing
from nnstudent.io.parts import missing_text, unfinished
from nnstudent.progress import Progress, silent
from nnstudent.pseudo.fused import FusedSet
from nnstudent.pseudo.pseudo_label import PseudoLabel, pseudo_label_paths, read_pseudo_label
from nnstudent.pseudo.selection import Decision, SelectSettings, decide, drop, keep_best

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SelectResult:
    """What ``select`` did.

    Attributes:
        classes: The classes that the student is to learn.
        decisions: One for each training case, in the cohort's order.
        failures: The cases that could not be read; they are dropped.
        written: Number of fused label maps that were written; the others were up to date.
        ignored: For each case kept, the share of its voxels that the student is not to learn from.
    """

    classes: tuple[str, ...]
    decisions: tuple[Decision, ...]
    failures: tuple[Failure, ...]
    written: int
    ignored: Mapping[str, float] = field(default_factory=dict)

    @property
    def kept(self) -> tuple[str, ...]:
        """Ids of the cases that the student learns from."""
        return tuple(decision.case for decision in self.decisions if decision.kept)


def select(
    cohort: Cohort,
    pseudo: Path,
    out: Path,
    *,
    settings: SelectSettings | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress = silent,
) -> SelectResult:
    """Choose the cases that the student learns from and write their fused labels.

    Writes to ``out``:

    - ``cohort.json``: the cases kept, each with the classes that its truth or pseudo-label covers.
    - ``ledger.jsonl``: a row for each training case and class.
    - ``nnUNet_raw/Dataset001_fused``: ``labelsTr``, and ``dataset.json``, which points at the
      images where they are. A case with a class left open is not in ``dataset.json``, because
      nnU-Net would take that class for absent.
    - ``probability/`` and ``runner_up/``, if ``label --probability`` was used: the uncertainty of
      each voxel of the fused labels.
    - ``labels/``, with ``ignore_below``: the label maps that ``cohort.json`` names, in which 255 is
      ignored. In nnU-Net's dataset the highest value is ignored.

    Whatever was made from the same files is not written again.

    Args:
        cohort: The cases; those with role ``test`` are left out.
        pseudo: Folder that ``label`` wrote. It may lack cases, and may be missing if all classes
            are annotated in every case.
        out: Folder to write to.
        settings: What a pseudo-label must reach.
        classes: What the student is to learn; by default every class that is annotated in a case
            or known to a model.
        progress: Called after each case.

    Raises:
        InputError: A part of the labeling has not ended, no case is kept, ``classes`` names a
            class that is not in the table, or a pseudo-label has no probabilities although
            ``ignore_below`` is set.
        OutputError: ``out`` cannot be written to.
    """
    settings = settings or SelectSettings()
    taxonomy = cohort.taxonomy
    if missing := unfinished(pseudo):
        raise InputError(
            f"{pseudo}: {missing_text(missing)}; run: nnstudent label … -o {pseudo} "
            f"--part {missing[0]}"
        )
    judged = judge(cohort, pseudo, settings=settings, classes=classes)
    if settings.ignore_below:
        _require_probabilities(pseudo, judged.decisions)
    with writing(out), FileHashes(hashes_path(out), beside_results=True) as hash_of:
        fused = FusedSet(out, pseudo, taxonomy, judged.classes, settings, hash_of)
        return _write(cohort, fused, judged.decisions, judged.failures, progress=progress)


@dataclass(frozen=True)
class Judged:
    """What becomes of each case, before anything is written.

    Attributes:
        classes: The classes that the student is to learn.
        decisions: One for each training case, in the cohort's order.
        failures: Why a case cannot be used, by case.
    """

    classes: tuple[str, ...]
    decisions: tuple[Decision, ...]
    failures: Mapping[str, str]


def judge(
    cohort: Cohort,
    pseudo: Path,
    *,
    settings: SelectSettings,
    classes: Sequence[str] | None = None,
) -> Judged:
    """Merge the records of all pseudo-labels and decide on each case.

    No image or label map is read. For the arguments see :func:`select`.

    Raises:
        InputError: ``classes`` names a class that is not in the table, or there is none.
    """
    taxonomy = cohort.taxonomy
    found, failures = _read_pseudo_labels(cohort, pseudo)
    known = tuple(
        sorted({name for item in found.values() if item.classes is None for name in item.found})
    )
    learned = _all_classes(cohort, found, known) if classes is None else taxonomy.sorted(classes)
    decisions: list[Decision] = []
    for case in cohort.train():
        decision = decide(
            case,
            found.get(case.id),
            classes=learned,
            taxonomy=taxonomy,
            settings=settings,
            known=known,
        )
        decisions.append(drop(decision, failures[case.id]) if case.id in failures else decision)
    best = keep_best(decisions, settings=settings)
    _warn_about_holes(found, best, not_learned=set(taxonomy.lesions) - set(learned))
    return Judged(learned, best, failures)


def _write(
    cohort: Cohort,
    fused: FusedSet,
    decisions: Sequence[Decision],
    failures: Mapping[str, str],
    *,
    progress: Progress,
) -> SelectResult:
    """Write the fused labels of the cases that are kept, and the set that they make up."""
    by_case = {decision.case: decision for decision in decisions}

    def work(case: Case) -> tuple[bool, float] | None:
        decision = by_case[case.id]
        if not decision.kept:
            return None
        is_new = fused.write_labels(case, decision.filled)
        return is_new, fused.ignored_share(case.id)

    results, failed = for_each_case(
        cohort.train(),
        work,
        files=lambda case: (case.image, case.label, *pseudo_label_paths(fused.pseudo, case.id)),
        what="select",
        threads=reading_threads(),  # most of it is decompressing and compressing label maps
        progress=progress,
    )
    for failure in failed:
        by_case[failure.case] = drop(by_case[failure.case], failure.reason)
    failures = {**failures, **{failure.case: failure.reason for failure in failed}}
    done = {case.id: outcome for case, outcome in results if outcome is not None}
    result = SelectResult(
        fused.classes,
        tuple(by_case[case.id] for case in cohort.train()),
        tuple(Failure(case, reason) for case, reason in failures.items()),
        written=sum(is_new for is_new, _ in done.values()),
        ignored={id: share for id, (_, share) in done.items()},
    )
    ledger = fused.out / LEDGER_NAME
    write_ledger(ledger, (row for decision in result.decisions for row in decision.rows))
    if not result.kept:
        why = result.decisions[0].why if result.decisions else "the cohort has no training case"
        raise InputError(
            f"{fused.out}: no case is left to learn from ({why}); {ledger} says why for each"
        )
    fused.write_dataset(cohort, result.decisions, ignored=result.ignored)
    return result


def _warn_about_holes(
    found: Mapping[str, PseudoLabel], decisions: Sequence[Decision], *, not_learned: set[str]
) -> None:
    filled = [decision.case for decision in decisions if decision.kept and decision.filled]
    affected = [case for case in filled if not_learned.intersection(found[case].found)]
    if affected:
        log.warning(
            "%s: found in %d of %d pseudo-labels but not learned, which leaves holes in the organs "
            "beneath; label with the organ teachers alone",
            " and ".join(sorted(not_learned)),
            len(affected),
            len(filled),
        )


def _require_probabilities(pseudo: Path, decisions: Sequence[Decision]) -> None:
    used = [decision.case for decision in decisions if decision.kept and decision.filled]
    lacking = [case for case in used if not has_uncertainty(pseudo, case)]
    if lacking:
        raise InputError(
            f"{pseudo}: {len(lacking)} of {len(used)} pseudo-labels come without the probability "
            f"of each voxel, {lacking[0]} the first; run label again with --probability, or leave "
            "out --ignore-below"
        )


def _read_pseudo_labels(
    cohort: Cohort, folder: Path
) -> tuple[dict[str, PseudoLabel], dict[str, str]]:
    """Read the records; returns them by case, and for each case that failed the reason."""

    def read(case: Case) -> PseudoLabel | None:
        item = read_pseudo_label(folder, case.id)
        if item is not None:
            cohort.taxonomy.sorted((*(item.classes or ()), *item.found))  # refuses unknown classes
        return item

    results, failures = for_each_case(
        cohort.train(),
        read,
        files=lambda case: pseudo_label_paths(folder, case.id)[::-1],
        what="read",
    )
    found = {case.id: item for case, item in results if item is not None}
    return found, {failure.case: failure.reason for failure in failures}


def _all_classes(
    cohort: Cohort, found: Mapping[str, PseudoLabel], known: Sequence[str]
) -> tuple[str, ...]:
    """Return every class that is annotated in a case or known to a model."""
    names = {name for case in cohort.train() for name in case.annotated}.union(known)
    for item in found.values():
        names.update(item.classes or ())
    if not names:
        raise InputError(
            "no class is annotated in any case or known to any model; nothing to learn"
        )
    return cohort.taxonomy.sorted(names)
