"""The stage `teach`: train the organ teachers and the tumor model on a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nnstudent.cohort.cohort import Cohort
from nnstudent.errors import Failure
from nnstudent.io.atomic import check_folder
from nnstudent.progress import Progress, silent
from nnstudent.training.recipe import Teaching
from nnstudent.training.task import Task, organ_task, tumor_task
from nnstudent.training.train import Trained, prepare_training, train

Target = Literal["organs", "tumor", "all"]


@dataclass(frozen=True)
class TeachResult:
    """What was trained.

    Attributes:
        organs: The organ teachers, or None if they were not asked for.
        tumor: The tumor model, or None if it was not asked for or no case has a lesion annotated.
    """

    organs: Trained | None
    tumor: Trained | None

    @property
    def models(self) -> tuple[Path, ...]:
        """The model folders there are, organs first."""
        return tuple(trained.model for trained in (self.organs, self.tumor) if trained is not None)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Cases that were left out, each once."""
        found = {
            failure.case: failure
            for trained in (self.organs, self.tumor)
            if trained is not None
            for failure in trained.failures
        }
        return tuple(found.values())


def teach_tasks(cohort: Cohort, teaching: Teaching, *, target: Target = "all") -> tuple[Task, ...]:
    """The tasks that `teach` would train: the organ teachers and the tumor model.

    Raises:
        InputError: Organ teachers are asked for and no case has all organs annotated.
    """
    tasks: list[Task] = []
    if target in ("organs", "all"):
        tasks.append(organ_task(cohort, teaching.organs, folds=teaching.folds))
    if target in ("tumor", "all"):
        tumor = tumor_task(
            cohort,
            teaching.tumor or teaching.organs,
            folds=teaching.tumor_folds,
            organs=teaching.tumor_organs,
        )
        tasks.extend([tumor] if tumor is not None else [])
    return tuple(tasks)


def prepare_teachers(
    cohort: Cohort,
    out: Path,
    teaching: Teaching,
    *,
    target: Target = "all",
    threads: int | None = None,
    progress: Progress = silent,
) -> tuple[Failure, ...]:
    """Preprocess the cases that `teach` would train on, so that no fold has to wait for it.

    For the arguments and errors see :func:`teach`.

    Returns:
        Cases that are left out, each once.
    """
    tasks = teach_tasks(cohort, teaching, target=target)
    check_folder(out)
    found = {
        failure.case: failure
        for task in tasks
        for failure in prepare_training(
            task, out / task.name, out / ".work" / task.name, threads=threads, progress=progress
        )
    }
    return tuple(found.values())


def teach(
    cohort: Cohort,
    out: Path,
    teaching: Teaching,
    *,
    target: Target = "all",
    folds: Sequence[int] | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = silent,
) -> TeachResult:
    """Train the teachers that are missing, as nnU-Net model folders in ``out``.

    Args:
        cohort: The cohort. Training cases with all organs annotated train the organ teachers, those
            with all lesion classes annotated the tumor model. Test cases are never read.
        out: Folder to write ``organs`` and ``tumor`` into.
        teaching: The recipes and the number of folds.
        target: Which of the two to train.
        folds: Which folds of each; None for all.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: CPU threads.
        progress: Called after each step.

    Raises:
        InputError: No case has all organs annotated, or none could be read.
        OutputError: ``out`` cannot be written.
        MissingExtraError: nnunetv2 is not installed.
    """
    tasks = teach_tasks(cohort, teaching, target=target)
    check_folder(out)
    trained: dict[str, Trained] = {}
    for task in tasks:
        mine = (
            None
            if folds is None
            else [
                fold
                for fold in folds
                if fold < task.folds or task.name == "organs" or len(tasks) == 1
            ]
        )
        trained[task.name] = train(
            task,
            out / task.name,
            out / ".work" / task.name,
            folds=mine,
            device=device,
            threads=threads,
            progress=progress,
        )
    return TeachResult(trained.get("organs"), trained.get("tumor"))
