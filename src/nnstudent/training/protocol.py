"""Records how a model is trained, and where, for the tables of a paper."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from nnstudent.bundle.bundle import Model
from nnstudent.errors import one_line
from nnstudent.io.atomic import write_json
from nnstudent.io.record import read_state
from nnstudent.machine import environment
from nnstudent.training.design.describe import count
from nnstudent.training.task import Task

FILE = "training.json"
SCHEMA = 1
log = logging.getLogger(__name__)


def record_training(folder: Path, task: Task, *, start: Model | None, threads: int | None) -> None:
    """Write beside a fold's checkpoints what is trained and on which machine.

    A training that goes on on another machine names both.

    Args:
        folder: The fold's folder.
        task: What is trained.
        start: The model that it begins from; None if it begins from chance.
        threads: Processor threads; None if they are chosen as it goes.
    """
    size = _size(task)  # loads torch, which knows the GPU
    machines = [environment()]
    earlier = read_state(folder / FILE, what="a training")
    if earlier is not None:
        known = [item for item in earlier.get("environments", ()) if item != machines[0]]
        machines = [*known, *machines]
    write_json(
        folder / FILE,
        {
            "schema": SCHEMA,
            "task": task.name,
            "classes": list(task.classes),
            "cases": len(task.cases),
            "folds": task.folds,
            "initialization": _initialization(start),
            "recipe": task.recipe.to_dict(),
            **size,
            "threads": threads,
            "environments": machines,
        },
    )


def _initialization(start: Model | None) -> str:
    if start is None:
        return "random"
    return f"the bundled student ({start.hash})" if start.bundled else f"model {start.hash}"


def _size(task: Task) -> dict[str, Any]:
    """Parameters, and 10⁹ operations of one window; empty if they cannot be counted."""
    try:
        parameters, gflop = count(
            task.recipe.network, task.recipe.data.patch, classes=len(task.classes) + 1
        )
    except (RuntimeError, ValueError, NotImplementedError) as error:  # an operation unknown to it
        log.warning("%s: operations cannot be counted (%s)", task.name, one_line(error))
        return {}
    return {"parameters": parameters, "gflop": round(gflop, 3)}
