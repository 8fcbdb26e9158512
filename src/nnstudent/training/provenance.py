"""What a model is made from, as plain data: a second call trains only if it has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnstudent.errors import InputError
from nnstudent.io.hashes import FileHashes
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
        "paint_most": 4,
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
    with FileHashes(cache) as hash_of:
        cases = {
            case.id: [_content(case.image, hash_of), _content(case.label, hash_of)]
            for case in task.cases
            if case.label is not None
        }
        uncertainty = {
            id: [_content(path, hash_of) for path in files]
            for id, files in task.uncertainty.items()
        }
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


def _content(path: Path, hash_of: FileHashes) -> str:
    """Hash of a file's content."""
    try:
        return hash_of(path)
    except (OSError, InputError) as error:
        # The case fails later, by name; here its entry only has to differ.
        return f"unreadable: {type(error).__name__}"
