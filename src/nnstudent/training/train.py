"""From a task to a model folder: what teachers and students have in common."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nnstudent.bundle.bundle import Model
from nnstudent.bundle.spec import BACKGROUND
from nnstudent.errors import Failure, InputError, one_line, require
from nnstudent.io.atomic import write_json
from nnstudent.io.lock import writing
from nnstudent.io.record import is_made_from, write_record
from nnstudent.progress import Progress, silent
from nnstudent.training.cpu.malloc import freed_memory_kept
from nnstudent.training.data.dataset import Prepared, nnunet_folders, prepare, source_of
from nnstudent.training.initial_weights import load_start
from nnstudent.training.plans import CONFIGURATION
from nnstudent.training.task import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """One trained model.

    Attributes:
        model: nnU-Net model folder.
        classes: Names of its classes, in the order of the channels.
        folds: Folds that are finished.
        fresh: Those of them that this call trained.
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
    """Train what is missing of a task's model; a killed training goes on from its last checkpoint.

    Args:
        task: What to train.
        model: nnU-Net model folder that results.
        work: For preprocessed data; removed when every fold is finished.
        folds: Which folds; None for all.
        start: A trained model to begin from; None to begin from chance.
        device: ``auto`` (CUDA where there is one), ``cpu`` or ``cuda``.
        threads: Processor threads; None for whatever is quickest, which is tried now and then (the sums are then not always
            added in the same order, so that two runs differ in the last digits).
        progress: Told after each step.

    Raises:
        InputError: No case could be read, a fold or device does not exist, or ``start`` is another network.
        OutputError: ``model`` cannot be written, or another call trains one of the folds.
        MissingExtraError: nnunetv2 is not installed.
    """
    # Threads that wait for each other by spinning take the processor from whatever else runs on it, and a step lasts several
    # times as long; torch reads this when it is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    require("nnunetv2", extra="train", why="training")
    place = _device(device)
    wanted = list(range(task.folds)) if folds is None else sorted(set(folds))
    for fold in wanted:
        if not 0 <= fold < task.folds:
            raise InputError(
                f"{task.name}: no fold {fold}; with {len(task.cases)} cases there are {task.folds}, numbered from 0"
            )
    made_from = source_of(task, model / ".hashes.json") | (
        {"start": start.hash} if start is not None else {}
    )
    finished = [
        fold for fold in range(task.folds) if _is_finished(model / f"fold_{fold}", made_from)
    ]
    missing = [fold for fold in wanted if fold not in finished]
    failures: tuple[Failure, ...] = ()
    if missing:
        with writing(model, wait=True):  # calls that train other folds share what is prepared
            _remove_stale(model, made_from)
            prepared = prepare(task, work, made_from, threads=threads or 2, progress=progress)
            failures = prepared.failures
            _write_model(model, prepared)
        for fold in missing:
            if fold < len(prepared.splits):
                with writing(model / f"fold_{fold}"):
                    _train_fold(
                        task,
                        model,
                        prepared,
                        fold,
                        made_from,
                        start=start,
                        device=place,
                        threads=threads,
                        progress=progress,
                    )
                finished.append(fold)
        if len(finished) >= len(prepared.splits):
            shutil.rmtree(work, ignore_errors=True)
            with suppress(OSError):  # another task may still have its work beside it
                work.parent.rmdir()
    return Trained(model, task.classes, tuple(sorted(finished)), tuple(missing), failures)


def _is_finished(folder: Path, made_from: Any) -> bool:
    return (folder / "checkpoint_final.pth").is_file() and is_made_from(
        folder / "record.json", made_from
    )


def _remove_stale(model: Path, made_from: Any) -> None:
    """Remove folds of an earlier recipe or cohort: this training must not go on with them, nor may they vote beside its own."""
    for folder in model.glob("fold_*"):
        if not (_is_finished(folder, made_from) or is_made_from(folder / "begun.json", made_from)):
            with writing(folder):  # nor is it taken from a call that trains it
                shutil.rmtree(folder, ignore_errors=True)


def _write_model(model: Path, prepared: Prepared) -> None:
    write_json(model / "plans.json", prepared.plans)
    write_json(model / "dataset.json", prepared.dataset_json)
    write_json(
        model / "splits_final.json",
        [{"train": list(split.train), "val": list(split.val)} for split in prepared.splits],
    )


def _train_fold(
    task: Task,
    model: Path,
    prepared: Prepared,
    fold: int,
    made_from: Any,
    *,
    start: Model | None,
    device: Any,
    threads: int | None,
    progress: Progress,
) -> None:
    import torch

    from nnstudent.training.cpu.threads import Tuner, choices
    from nnstudent.training.trainer import FINAL, LATEST, PREVIOUS, RecipeTrainer

    folder = model / f"fold_{fold}"
    write_record(folder / "begun.json", stage=task.name, made_from=made_from)
    cores = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    workers = 0 if device.type == "cpu" else (threads or 12)
    began = time.monotonic()
    with nnunet_folders(
        prepared.work, log_file=folder / "nnunet.log", workers=workers, progress=progress
    ) as aloud:

        def begin() -> RecipeTrainer:
            trainer = RecipeTrainer(
                dict(prepared.plans), CONFIGURATION, fold, prepared.dataset_json, device
            )
            trainer.place(model)
            trainer.start = (
                None
                if start is None
                else partial(load_start, model=start, classes=[BACKGROUND, *task.classes])
            )
            return trainer

        trainer = _resumed(begin, [folder / LATEST, folder / PREVIOUS])
        trainer.progress = aloud
        if threads is None and device.type == "cpu":
            trainer.tuner = Tuner(choices(cores), torch.set_num_threads)
        trainer.title = (
            task.name if task.folds == 1 else f"{task.name}, fold {fold + 1} of {task.folds}"
        )
        try:
            with freed_memory_kept() if device.type == "cpu" else nullcontext():
                trainer.run_training()
        finally:
            trainer.close()
            torch.set_num_threads(cores)
    seconds = round(time.monotonic() - began, 1)
    write_record(
        folder / "record.json",
        stage=task.name,
        made_from=made_from,
        files=[folder / FINAL],
        seconds=seconds,
    )
    (folder / "begun.json").unlink()


def _resumed(begin: Callable[[], Any], checkpoints: Sequence[Path]) -> Any:
    """A trainer that goes on from the first of these checkpoints that can be read, or begins anew; what is damaged is set aside.

    Args:
        begin: Makes a trainer at its beginning.
        checkpoints: The newest first; those that are missing are passed over.
    """
    for path in checkpoints:
        if not path.is_file():
            continue
        trainer = begin()
        try:
            trainer.load_checkpoint(str(path))
            return trainer
        except (
            Exception
        ) as error:  # a damaged file can fail in any way, and half of it may have been taken
            trainer.close()
            aside = path.with_suffix(".damaged")
            os.replace(path, aside)
            log.warning(
                "%s: cannot be gone on from (%s); set aside as %s, an earlier state is taken",
                path,
                one_line(error),
                aside.name,
            )
    return begin()


def _device(device: str) -> Any:
    torch = require("torch", extra="train", why="training")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise InputError(f"device {device!r}; expected auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device cuda, but torch finds no CUDA device here; use --device cpu, or install a CUDA build of torch"
        )
    return torch.device(device)
