"""``teach``: ``cohort`` → ``teachers``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Piece, Stage
from nnstudent.words import count

if TYPE_CHECKING:
    from nnstudent.training.teach import Target


def stage(run: RunFolder) -> Stage:
    """Return the stage."""
    preset = run.preset.to_dict()
    return Stage(
        "teach",
        partial(work, run),
        needs=("index",),
        reads=lambda: [run.cohort_file, *run.files("train")],
        writes=[run.teachers],
        settings={
            key: preset[key]
            for key in ("teachers", "tumor", "folds", "tumor_folds", "tumor_organs")
        },
        load="train",
        pieces=pieces(run),
        merge=merge,
    )


def pieces(run: RunFolder) -> list[Piece]:
    """Return a piece for each fold that the preset asks for; a small cohort may have fewer.

    The folds of a model follow the piece that preprocesses its cases, for which no GPU has to wait.
    """
    models: list[tuple[Target, int]] = [
        ("organs", run.preset.folds),
        ("tumor", run.preset.tumor_folds),
    ]
    found = []
    for target, folds in models:
        first = Piece(f"{target}-prepare", partial(prepare, run, target), load="light")
        found.append(first)
        found += [
            Piece(f"{target}-{fold}", partial(train_fold, run, target, fold), after=first.name)
            for fold in range(folds)
        ]
    return found


def work(run: RunFolder) -> Outcome:
    """Train the organ teachers and the tumor model."""
    from nnstudent.training.teach import teach

    done = teach(
        run.cohort(),
        run.teachers,
        run.preset.teaching,
        device=run.device,
        threads=run.threads,
        progress=run.progress,
    )
    models = [("organs", done.organs), ("tumor", done.tumor)]
    parts = [
        f"{name}: {count(len(model.folds), 'fold')}" for name, model in models if model is not None
    ]
    return Outcome(", ".join(parts), done.failures)


def prepare(run: RunFolder, target: Target) -> Outcome:
    """Preprocess the cases of the organ teachers or of the tumor model, if the cohort has it."""
    from nnstudent.training.teach import prepare_teachers, teach_tasks

    cohort = run.cohort()
    if not teach_tasks(cohort, run.preset.teaching, target=target):
        return Outcome(f"{target}: the cohort has no case for it", skipped=True)
    failures = prepare_teachers(
        cohort,
        run.teachers,
        run.preset.teaching,
        target=target,
        threads=run.threads or run.preset.cluster.light.cores,
        progress=run.progress,
    )
    return Outcome(f"{target}, prepared", failures)


def train_fold(run: RunFolder, target: Target, fold: int) -> Outcome:
    """Train one fold of the organ teachers or of the tumor model, if the cohort has it."""
    from nnstudent.training.teach import teach, teach_tasks

    cohort = run.cohort()
    tasks = teach_tasks(cohort, run.preset.teaching, target=target)
    if not tasks or fold >= tasks[0].folds:
        folds = count(tasks[0].folds if tasks else 0, "fold")
        return Outcome(f"{target}: the cohort has cases for {folds}", skipped=True)
    done = teach(
        cohort,
        run.teachers,
        run.preset.teaching,
        target=target,
        folds=[fold],
        device=run.device,
        threads=run.threads,
        progress=run.progress,
    )
    return Outcome(f"{target}, fold {fold}", done.failures, facts={"model": target})


def merge(pieces: Sequence[Outcome]) -> Outcome:
    """Count the folds."""
    models = Counter(str(piece.facts["model"]) for piece in pieces if "model" in piece.facts)
    failures = {item.case: item for piece in pieces for item in piece.failures}
    parts = [f"{name}: {count(folds, 'fold')}" for name, folds in models.items()]
    return Outcome(", ".join(parts), tuple(failures.values()))
