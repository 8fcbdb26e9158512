"""``teach``: ``cohort`` → ``teachers``."""

from __future__ import annotations

from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Stage
from nnstudent.words import count


def stage(run: RunFolder) -> Stage:
    """Return the stage."""
    preset = run.preset.to_dict()
    return Stage(
        "teach",
        partial(work, run),
        needs=("index",),
        reads=lambda: [run.cohort_file, *run.files("train")],
        writes=[run.teachers],
        settings={key: preset[key] for key in ("teachers", "tumor", "folds", "tumor_folds")},
    )


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
