"""Training from a task to a model folder, for teachers and students alike."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nnstudent.bundle.bundle import Model
from nnstudent.bundle.spec import BACKGROUND
from nnstudent.errors import Failure, InputError, require
from nnstudent.io.atomic import write_json
from nnstudent.io.lock import writing
from nnstudent.io.record import is_made_from, write_record
from nnstudent.progress import Progress, silent
from nnstudent.training.checkpoints import FINAL, resume
from nnstudent.training.cpu.malloc import freed_memory_kept
from nnstudent.training.data.dataset import Prepared, prepare
from nnstudent.training.environment import (
    kernels_tried,
    nnunet_folders,
    refuse_several_processes,
)
from nnstudent.training.initial_weights import load_start
from nnstudent.training.plans import CONFIGURATION
from nnstudent.training.protocol import record_training
from nnstudent.training.provenance import task_source
from nnstudent.training.task import Task


@dataclass(frozen=True)
class Trained:
    """One trained model.

    Attributes:
        model: nnU-Net model folder.
        classes: Names of its classes, in the order of the channels.
        folds: Folds that are finished.
        fresh: The folds that this call trained.
        failures: Cases that were left out, with the reason.
    """

    model: Path
    classes: tuple[str, ...]
    folds: tuple[int, ...]
    fresh: tuple[int, ...]
    failures: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without the failures."""
        return {
            "model": str(self.model),
            "classes": list(self.classes),
            "folds": list(self.folds),
            "trained_now": list(self.fresh),
        }


@dataclass(frozen=True)
class _Settings:
    """How folds are trained; see :func:`train`."""

    device: Any
    start: Model | None
    threads: int | None
    progress: Progress


def train(
    task: Task,
    model: Path,
    work: Path,
    *,
    folds: Sequence[int] | None = None,
    start: Model | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = silent,
) -> Trained:
    """Train what is missing of a task's model; a killed training resumes from its last checkpoint.

    Args:
        task: What to train.
        model: The nnU-Net model folder to write.
        work: Folder for preprocessed data; removed when every fold is finished.
        folds: Which folds; None for all.
        start: A trained model to start from; None to start from random weights.
        device: ``auto`` (CUDA if there is one), ``cpu`` or ``cuda``.
        threads: CPU threads; None for whatever is fastest, which is tried now and then. Sums are
            then not always added in the same order, so two runs differ in the last digits.
        progress: Called after each step.

    Raises:
        InputError: No case could be read, a fold or device does not exist, ``start`` is another
            network, or a launcher started several processes for one training.
        OutputError: ``model`` cannot be written, or another call trains one of the folds.
        MissingExtraError: nnunetv2 is not installed.
    """
    # Threads that wait for each other by spinning take the CPU from whatever else runs on it, and
    # a step takes several times as long; torch reads this when it is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    require("nnunetv2", extra="train", why="training")
    refuse_several_processes()
    settings = _Settings(_device(device), start, threads, progress)
    wanted = _wanted_folds(task, folds)
    made_from = _made_from(task, model, start)
    finished = [
        fold for fold in range(task.folds) if _is_finished(model / f"fold_{fold}", made_from)
    ]
    missing = [fold for fold in wanted if fold not in finished]
    failures: tuple[Failure, ...] = ()
    if missing:
        prepared = _prepare(task, model, work, made_from, threads=threads, progress=progress)
        failures = prepared.failures
        for fold in missing:
            if fold < len(prepared.splits):
                with writing(model / f"fold_{fold}"):
                    _train_fold(task, model, prepared, fold, made_from=made_from, how=settings)
                finished.append(fold)
        # Another call may have finished the others meanwhile.
        if all(
            _is_finished(model / f"fold_{fold}", made_from) for fold in range(len(prepared.splits))
        ):
            shutil.rmtree(work, ignore_errors=True)
            with suppress(OSError):  # another task may still have its work beside it
                work.parent.rmdir()
    return Trained(model, task.classes, tuple(sorted(finished)), tuple(missing), failures)


def prepare_training(
    task: Task,
    model: Path,
    work: Path,
    *,
    start: Model | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> tuple[Failure, ...]:
    """Preprocess a task's cases as :func:`train` does, without training.

    Calls that train its folds on other machines then do not wait for each other. For the arguments
    and errors see :func:`train`; nothing is done if all folds are finished.

    Returns:
        Cases that are left out, with the reason.
    """
    require("nnunetv2", extra="train", why="training")
    made_from = _made_from(task, model, start)
    if all(_is_finished(model / f"fold_{fold}", made_from) for fold in range(task.folds)):
        return ()
    return _prepare(task, model, work, made_from, threads=threads, progress=progress).failures


def _made_from(task: Task, model: Path, start: Model | None) -> dict[str, Any]:
    """What a task's model is made from, the weights that it starts from included."""
    begun = {} if start is None else {"start": start.hash}
    return task_source(task, model / ".hashes.json") | begun


def _prepare(
    task: Task,
    model: Path,
    work: Path,
    made_from: Any,
    *,
    threads: int | None,
    progress: Progress,
) -> Prepared:
    with writing(model, wait=True):  # calls that train other folds share what is prepared
        _remove_stale(model, made_from)
        prepared = prepare(task, work, made_from, threads=threads or 2, progress=progress)
        _write_model(model, prepared)
    return prepared


def _wanted_folds(task: Task, folds: Sequence[int] | None) -> list[int]:
    wanted = list(range(task.folds)) if folds is None else sorted(set(folds))
    for fold in wanted:
        if not 0 <= fold < task.folds:
            raise InputError(
                f"{task.name}: no fold {fold}; with {len(task.cases)} cases there are "
                f"{task.folds}, numbered from 0"
            )
    return wanted


def _is_finished(folder: Path, made_from: Any) -> bool:
    return (folder / FINAL).is_file() and is_made_from(folder / "record.json", made_from)


def _remove_stale(model: Path, made_from: Any) -> None:
    """Remove folds of an earlier recipe or cohort.

    This training must not resume from them, and they must not vote beside its own folds.
    """
    for folder in model.glob("fold_*"):
        if not (_is_finished(folder, made_from) or is_made_from(folder / "begun.json", made_from)):
            with writing(folder):  # not while another call trains it
                shutil.rmtree(folder, ignore_errors=True)


def _write_model(model: Path, prepared: Prepared) -> None:
    write_json(model / "plans.json", prepared.plans)
    write_json(model / "dataset.json", prepared.dataset_json)
    write_json(
        model / "splits_final.json",
        [{"train": list(split.train), "val": list(split.val)} for split in prepared.splits],
    )


def _train_fold(
    task: Task, model: Path, prepared: Prepared, fold: int, *, made_from: Any, how: _Settings
) -> None:
    """Train one fold, or resume it, and record what it was made from."""
    folder = model / f"fold_{fold}"
    write_record(folder / "begun.json", stage=task.name, made_from=made_from)
    record_training(folder, task, start=how.start, threads=how.threads)
    began = time.monotonic()
    _run_trainer(task, model, prepared, fold, how=how)
    write_record(
        folder / "record.json",
        stage=task.name,
        made_from=made_from,
        files=[folder / FINAL],
        seconds=round(time.monotonic() - began, 1),
    )
    (folder / "begun.json").unlink()


def _run_trainer(task: Task, model: Path, prepared: Prepared, fold: int, *, how: _Settings) -> None:
    import torch

    from nnstudent.training.cpu.threads import Tuner, choices
    from nnstudent.training.trainer import RecipeTrainer

    folder, on_cpu = model / f"fold_{fold}", how.device.type == "cpu"
    cores = torch.get_num_threads()
    if how.threads is not None:
        torch.set_num_threads(how.threads)

    def make_trainer() -> RecipeTrainer:
        trainer = RecipeTrainer(
            dict(prepared.plans), CONFIGURATION, fold, prepared.dataset_json, how.device
        )
        trainer.place(model)
        if how.start is not None:
            trainer.start = partial(
                load_start,
                model=how.start,
                classes=[BACKGROUND, *task.classes],
                hosts=task.recipe.data.hosts,
            )
        return trainer

    with nnunet_folders(
        prepared.work,
        log_file=folder / "nnunet.log",
        workers=0 if on_cpu else (how.threads or 12),
        progress=how.progress,
    ) as report:
        trainer = resume(make_trainer, folder)
        trainer.progress = report
        if how.threads is None and on_cpu:
            trainer.tuner = Tuner(choices(cores), torch.set_num_threads)
        trainer.title = (
            task.name if task.folds == 1 else f"{task.name}, fold {fold + 1} of {task.folds}"
        )
        try:
            with kernels_tried(how.device), freed_memory_kept() if on_cpu else nullcontext():
                trainer.run_training()
        finally:
            trainer.close()
            torch.set_num_threads(cores)


def _device(device: str) -> Any:
    torch = require("torch", extra="train", why="training")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise InputError(f"device {device!r}; expected auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device cuda, but torch finds no CUDA device here; "
            "use --device cpu, or install a CUDA build of torch"
        )
    return torch.device(device)
