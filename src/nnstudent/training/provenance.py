"""What a model is made from, as plain data: a second call trains only if it has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnstudent.errors import InputError
from nnstudent.io.atomic import write_json
from nnstudent.io.record import data_hash, file_hash, read_state
from nnstudent.training.recipe import Recipe
from nnstudent.training.task import Task

# Settings that were added to recipes later, with the value at which they change nothing: a model
# that was made without one of them is not made again for it.
_NEUTRAL: dict[str, dict[str, Any]] = {
    "network": {"kind": "plain"},
    "data": {"lesion_oversampling": 1.0, "window_hu": None, "focus": []},
    "training": {
        "cutmix": 0.0,
        "copy_paste": 0.0,
        "paint_lesions": 0.0,
        "replay": 0.0,
        "ema": 0.0,
        "lesion_weight": 1.0,
        "distill": 0.0,
        "true_share": 0.0,
        "coarsest_loss": False,
    },
}


def task_source(task: Task, cache: Path) -> dict[str, Any]:
    """What a task's model is made from: content hashes of the cases, classes and recipe.

    Args:
        task: The task.
        cache: File that keeps the hashes of files whose size and time have not changed.

    Returns:
        Plain data without a path of this machine, so that it can lie in a model folder.
    """
    hashes = _Hashes(cache)
    cases = {
        case.id: [hashes.content(case.image), hashes.content(case.label)]
        for case in task.cases
        if case.label is not None
    }
    uncertainty = {
        id: [hashes.content(path) for path in files] for id, files in task.uncertainty.items()
    }
    hashes.save()
    source: dict[str, Any] = {
        "task": task.name,
        "taxonomy": task.taxonomy.to_dict(),
        "classes": list(task.classes),
        "cases": cases,
        "folds": task.folds,
        "truth": sorted(task.truth),
        "hidden": {id: list(names) for id, names in task.hidden.items()},
        "recipe": _what_matters(task.recipe),
    }
    # These keys are there only where they hold something, and models on disk were made under them.
    optional: dict[str, Any] = {
        "annotated": {id: list(known) for id, known in task.marginal.items()},
        "lesion_truth": {id: list(known) for id, known in task.donors.items()},
        "true": sorted(task.drawn_more),
        "doubt": uncertainty,
    }
    return source | {key: value for key, value in optional.items() if value}


def _what_matters(recipe: Recipe) -> dict[str, Any]:
    """A recipe without what changes nothing that is learned, and what is listed elsewhere."""
    plain = recipe.to_dict()
    del plain["training"]["checkpoint_seconds"]
    del plain["training"]["partial"]  # its effect is listed by case, where it has any
    for table, settings in _NEUTRAL.items():
        for name, default in settings.items():
            if plain[table].get(name) == default:
                del plain[table][name]
    return plain


class _Hashes:
    """Content hashes of files, kept in a file between calls."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._known: dict[str, str] = read_state(cache, what="hashes") or {}
        self._fresh: dict[str, str] = {}

    def content(self, path: Path) -> str:
        """Hash of a file's content."""
        try:
            stat = path.stat()
            # The key is hashed too: a model folder names no path of this machine.
            key = data_hash([str(path), stat.st_size, stat.st_mtime_ns])
            self._fresh[key] = self._known.get(key) or file_hash(path)
        except (OSError, InputError) as error:
            # The case fails later, by name; here its entry only has to differ.
            return f"unreadable: {type(error).__name__}"
        return self._fresh[key]

    def save(self) -> None:
        """Keep the hashes for the next call."""
        if self._fresh != self._known:
            write_json(self._cache, self._known | self._fresh)
