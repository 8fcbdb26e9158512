"""Learn from corrected scans: the next student, which replaces the last one only if it is no worse.

A scan is corrected class by class. What nobody confirmed in it is completed with the labels of the
model that is to learn, so that it does not forget what it knew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nnstudent.bundle.bundle import Model, open_model
from nnstudent.bundle.export import export
from nnstudent.cohort.cohort import Case, Cohort, read_cohort, write_cohort
from nnstudent.cohort.fuse import fuse
from nnstudent.cohort.ledger import LEDGER_NAME, LedgerRow, read_ledger, write_ledger
from nnstudent.errors import Failure, InputError
from nnstudent.evaluation.calibrate import calibrate_bundle, scans_of_cohort
from nnstudent.evaluation.evaluate import evaluate
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.atomic import make_folder
from nnstudent.io.nifti import read_labels, write_labels
from nnstudent.pipeline.predict import predict
from nnstudent.progress import Progress, silent
from nnstudent.training.recipe import Recipe
from nnstudent.training.study import study
from nnstudent.volume import Volume
from nnstudent.words import class_title, count

_MUST_NOT_FALL = 0.05  # DSC of any single class


@dataclass(frozen=True)
class Learned:
    """A student that learned from corrections, compared with the model that it started from.

    Attributes:
        bundle: The new student.
        trained: Corrected scans that it learned from.
        held_out: Corrected scans that both were compared on.
        before: Mean DSC of the model on those, of the confirmed classes; None if there are none.
        after: The same of the new student.
        classes: The same by class.
        better: Whether the new student may replace the model.
        why: The reason, in one line.
    """

    bundle: Path
    trained: int
    held_out: int
    before: float | None
    after: float | None
    classes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    better: bool = False
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "bundle": str(self.bundle),
            "trained": self.trained,
            "held_out": self.held_out,
            "before": self.before,
            "after": self.after,
            "classes": {name: list(values) for name, values in self.classes.items()},
            "better": self.better,
            "why": self.why,
        }


def learn(
    corrections: Path,
    model: Model,
    recipe: Recipe,
    out: Path,
    *,
    rehearsal: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = silent,
) -> Learned:
    """Train a student on corrected scans, starting from a model, and compare the two.

    Args:
        corrections: Cohort of corrected scans; those with the role ``test`` are held out.
        model: The model to start from; its network must be the recipe's.
        recipe: Network and training.
        out: Folder for ``fused``, ``student``, ``bundle`` and the predictions on held-out scans.
        rehearsal: A fused cohort that is learned again, so that it is not forgotten.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: CPU threads.
        progress: Called after each step.

    Raises:
        InputError: No scan to learn from was corrected, or the model is another network.
        OutputError: ``out`` cannot be written.
        MissingExtraError: nnunetv2 is not installed.
    """
    cohort, gone = _without_deleted(read_cohort(corrections, made_by="serve --datastore FOLDER"))
    train, held_out = cohort.train(), cohort.test()
    if not train:
        raise InputError(
            f"{corrections.name}: no corrected scan to learn from; correct one more{gone}"
        )
    segmenter = Segmenter(model, threads=threads)
    failures = complete(cohort, segmenter, out / "fused", rehearsal=rehearsal, progress=progress)
    before, lost = _scores(cohort, segmenter, out / "before", progress)  # known before the training
    failures = (*failures, *lost)
    cohort = _without(cohort, {failure.case for failure in failures})
    train, held_out = cohort.train(), cohort.test()
    gone = f"{gone}{_unreadable(failures)}"
    study(
        out / "fused", out / "student", recipe, start=model, device=device, threads=threads,
        progress=progress,
    )  # fmt: skip
    card = {"training_data": f"{count(len(train), 'corrected scan')}, started from {model.hash}"}
    bundle = export(
        out / "student", out / "bundle", taxonomy=model.taxonomy, card=card, progress=progress
    )
    learned = Learned(bundle, len(train), len(held_out), None, None)
    if not held_out:
        return replace(
            learned,
            why=f"no corrected scan is held out yet, so nothing shows that it is no worse{gone}",
        )
    student = Segmenter(open_model(bundle), threads=threads)
    after, lost = _scores(cohort, student, out / "after", progress)
    if lost:
        raise InputError(f"{lost[0].case}: {lost[0].reason}")
    judged = _judged(learned, before, after)
    if not judged.better:
        return replace(judged, why=f"{judged.why}{gone}")
    quality = calibrated(cohort, bundle, before=model, threads=threads, progress=progress)
    return replace(judged, why=f"{judged.why}; {quality}{gone}")


def _without(cohort: Cohort, ids: Collection[str]) -> Cohort:
    return replace(cohort, cases=tuple(case for case in cohort if case.id not in ids))


def _unreadable(failures: Sequence[Failure]) -> str:
    """Return what to say of the scans that failed; empty if there are none."""
    if not failures:
        return ""
    named = "; ".join(f"{failure.case} ({failure.reason})" for failure in failures[:3])
    more = f" and {len(failures) - 3} more" if len(failures) > 3 else ""
    return f"; left out, because it cannot be used: {named}{more}"


def _without_deleted(cohort: Cohort) -> tuple[Cohort, str]:
    """Return the cohort without the scans that were deleted since, and what to say of these."""
    there = tuple(case for case in cohort if case.image.exists())
    gone = [case.id for case in cohort if case not in there]
    if not gone:
        return cohort, ""
    named = ", ".join(gone[:3]) + (" …" if len(gone) > 3 else "")
    said = f"; left out, because the scan was deleted: {named}"
    return replace(cohort, cases=there), said


def calibrated(
    cohort: Cohort,
    bundle: Path,
    *,
    before: Model,
    threads: int | None = None,
    progress: Progress = silent,
) -> str:
    """Calibrate the expected Dice of a student on the held-out scans, if these are enough.

    The calibration of the model that it started from is not taken over as it is: it is adapted to
    what the student makes of the held-out scans, or the student has none.

    Args:
        cohort: The corrected scans.
        bundle: The student, which gets the calibration.
        before: The model that it started from.
        threads: CPU threads.
        progress: Called after each scan.

    Returns:
        What came of it, in one line.

    Raises:
        OutputError: The bundle cannot be written.
    """
    scans = scans_of_cohort(cohort, classes=open_model(bundle).classes)
    try:
        done = calibrate_bundle(
            bundle,
            scans,
            bundle,
            truth="corrected scans that were held out",
            before=before.quality,
            threads=threads,
            progress=progress,
        )
    except InputError as error:
        return f"no expected Dice, so that qc flags nothing: {error}"
    return f"expected Dice calibrated on {count(done.scans, 'held-out scan')}"


def complete(
    cohort: Cohort,
    segmenter: Segmenter,
    out: Path,
    *,
    rehearsal: Path | None = None,
    progress: Progress = silent,
) -> tuple[Failure, ...]:
    """Complete corrected scans with a model's labels, as a fused cohort that `study` learns from.

    Args:
        cohort: The corrected scans.
        segmenter: The model.
        out: Folder of the fused cohort.
        rehearsal: Another fused cohort, whose cases are added.
        progress: Called after each case.

    Returns:
        The scans that cannot be read, which are left out.

    Raises:
        InputError: No scan can be read.
        OutputError: ``out`` cannot be written.
    """
    table, classes = cohort.taxonomy, segmenter.model.classes
    failures = list(predict(cohort.train(), segmenter, out=out / "predictions", progress=progress))
    failed = {failure.case for failure in failures}
    cases: list[Case] = []
    rows: list[LedgerRow] = []
    make_folder(out / "labels")
    for case in cohort.train():
        if case.id in failed or case.label is None:
            continue
        try:
            truth = read_labels(case.label)
        except InputError as error:
            failures.append(Failure(case.id, str(error)))
            continue
        pseudo = read_labels(out / "predictions" / f"{case.id}.nii.gz")
        ids = [table[name].id for name in case.annotated]
        labels = fuse(truth.array, pseudo.array, annotated=ids, taxonomy=table)
        path = out / "labels" / f"{case.id}.nii.gz"
        write_labels(path, Volume(labels, truth.grid))
        every = case.annotated.union(classes)
        cases.append(replace(case, label=path, annotated=every))
        for name in table.sorted(every):
            true = name in case.annotated
            rows.append(
                LedgerRow(
                    case.id,
                    name,
                    "truth" if true else "pseudo",
                    model=None if true else segmenter.model.hash,
                    round=0 if true else 1,
                    why="confirmed" if true else "not confirmed; the model's own label",
                )
            )
    if not cases:
        raise InputError(f"{failures[0].case}: {failures[0].reason}")
    if rehearsal is not None:
        old = read_cohort(rehearsal, made_by="select COHORT PSEUDO")
        known = {case.id for case in cases}
        cases += [case for case in old.train() if case.id not in known]
        ledger = rehearsal / LEDGER_NAME
        rows += read_ledger(ledger) if ledger.is_file() else ()
    write_cohort(out, Cohort(table, tuple(cases)))
    write_ledger(out / LEDGER_NAME, rows)
    return tuple(failures)


def _scores(
    cohort: Cohort, segmenter: Segmenter, out: Path, progress: Progress
) -> tuple[dict[str, float], tuple[Failure, ...]]:
    """Score a model on the held-out scans.

    Returns:
        The mean DSC of each class that was confirmed, and the scans that cannot be scored.
    """
    failures = predict(cohort.test(), segmenter, out=out, progress=progress)
    cohort = _without(cohort, {failure.case for failure in failures})
    if not cohort.test():
        return {}, failures
    scores = evaluate(out, cohort, subset="test", progress=progress)
    means = scores.means()
    found = {name: means[name].dsc for name in scores.classes if name in means}
    return found, (*failures, *scores.failures)


def _judged(learned: Learned, before: Mapping[str, float], after: Mapping[str, float]) -> Learned:
    """Decide whether the new student may replace the model."""
    classes = {name: (before[name], after[name]) for name in before if name in after}
    if not classes:
        return replace(learned, why="the held-out scans have no class that can be scored")
    old, new = (sum(values) / len(classes) for values in zip(*classes.values(), strict=True))
    fallen = [name for name, (was, now) in classes.items() if now < was - _MUST_NOT_FALL]
    figures = f"mean DSC {old:.3f} before, {new:.3f} after, on {count(learned.held_out, 'scan')}"
    why = figures
    if new < old:
        why = f"worse on what is held out: {figures}"
    elif fallen:
        was, now = classes[fallen[0]]
        why = f"{class_title(fallen[0])} fell from {was:.3f} to {now:.3f}; {figures}"
    return replace(
        learned,
        before=round(old, 4),
        after=round(new, 4),
        classes={name: (round(a, 4), round(b, 4)) for name, (a, b) in classes.items()},
        better=new >= old and not fallen,
        why=why,
    )
