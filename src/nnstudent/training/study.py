"""The stage `study`: train the student on truth and pseudo-labels together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nnstudent.bundle.bundle import Model
from nnstudent.cohort.cohort import read_cohort
from nnstudent.cohort.ledger import LEDGER_NAME, iterate_ledger, pseudo_classes
from nnstudent.cohort.uncertainty import has_uncertainty, probability_path, runner_up_path
from nnstudent.errors import Failure, InputError
from nnstudent.io.atomic import check_folder
from nnstudent.progress import Progress, silent
from nnstudent.training.recipe import Recipe
from nnstudent.training.task import Task, student_task
from nnstudent.training.train import Trained, prepare_training, train

log = logging.getLogger(__name__)


def study_task(
    fused: Path, recipe: Recipe, *, organs_only: bool = False, only: Sequence[str] | None = None
) -> Task:
    """The task that `study` would train.

    Args:
        fused: Folder of the fused cohort: ``cohort.json`` and ``ledger.jsonl``. Without a ledger
            it is a cohort as indexed, and the student learns from the cases with all organs
            annotated: the comparison without pseudo-labels.
        recipe: Network and training.
        organs_only: Whether the student learns no tumors, because a model of their own adds them.
        only: The classes to learn; None for all.

    Raises:
        InputError: There is no cohort, the ledger is malformed, no training case has a label, a
            class of ``only`` is missing, or the recipe distills and the teachers' uncertainty was
            not kept.
    """
    cohort = read_cohort(fused, made_by="select COHORT PSEUDO")
    ledger = fused / LEDGER_NAME
    if ledger.is_file():
        task = student_task(
            cohort,
            recipe,
            organs_only=organs_only,
            pseudo=pseudo_classes(iterate_ledger(ledger)),
            only=only,
        )
        return (
            replace(task, uncertainty=_uncertainty(fused, task))
            if recipe.training.distill
            else task
        )
    full = cohort.annotated_with(cohort.taxonomy.organs)
    if not full:
        raise InputError(
            f"{fused}: no ledger.jsonl, and no case has all organs annotated; "
            "make a fused cohort with: nnstudent select"
        )
    log.info(
        "%s: no ledger.jsonl; the student learns from the %d cases with all organs annotated, "
        "true labels only",
        fused,
        len(full),
    )
    return student_task(
        replace(cohort, cases=full), recipe, organs_only=organs_only, pseudo={}, only=only
    )


def _uncertainty(fused: Path, task: Task) -> dict[str, tuple[Path, Path]]:
    files = {
        id: (probability_path(fused, id), runner_up_path(fused, id))
        for id in task.pseudo
        if has_uncertainty(fused, id)
    }
    if task.pseudo and not files:
        raise InputError(
            f"{fused}: distill = {task.recipe.training.distill}, but the teachers' uncertainty was "
            "not kept; run label --probability and select again, or set distill = 0"
        )
    return files


def prepare_study(
    fused: Path,
    out: Path,
    recipe: Recipe,
    *,
    organs_only: bool = False,
    start: Model | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> tuple[Failure, ...]:
    """Preprocess the cases that :func:`study` would train on, for which no GPU has to wait.

    For the arguments and errors see :func:`study`.

    Returns:
        Cases that are left out, with the reason.
    """
    task = study_task(fused, recipe, organs_only=organs_only)
    check_folder(out)
    return prepare_training(
        task, out, out / ".work", start=start, threads=threads, progress=progress
    )


def study(
    fused: Path,
    out: Path,
    recipe: Recipe,
    *,
    organs_only: bool = False,
    start: Model | None = None,
    only: Sequence[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = silent,
) -> Path:
    """Train the student, or resume its training; ``out`` becomes its nnU-Net model folder.

    Args:
        fused: The fused cohort's folder.
        out: The model folder to write.
        recipe: Network and training.
        organs_only: Whether the student learns no tumors.
        start: A trained model of the same network, or of a wider one, to start from
            (:func:`~nnstudent.training.initial_weights.load_start`); None for random weights.
        only: The classes to learn, the others are background; None for all.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: CPU threads.
        progress: Called after each step.

    Returns:
        The model folder, ``out``. The log names the cases that could not be read.

    Raises:
        InputError: As :func:`study_task`, no case could be read, or ``start`` is another network.
        OutputError: ``out`` cannot be written.
        MissingExtraError: nnunetv2 is not installed.
    """
    return study_result(
        fused,
        out,
        recipe,
        organs_only=organs_only,
        start=start,
        only=only,
        device=device,
        threads=threads,
        progress=progress,
    ).model


def study_result(
    fused: Path,
    out: Path,
    recipe: Recipe,
    *,
    organs_only: bool = False,
    start: Model | None = None,
    only: Sequence[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = silent,
) -> Trained:
    """Do as :func:`study`; returns what was trained and which cases were left out."""
    task = study_task(fused, recipe, organs_only=organs_only, only=only)
    check_folder(out)
    return train(
        task, out, out / ".work", start=start, device=device, threads=threads, progress=progress
    )
