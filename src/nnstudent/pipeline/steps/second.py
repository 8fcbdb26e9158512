"""``second``: the last round's ``fused`` → ``second``, the second stage of a cascade."""

from __future__ import annotations

from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Stage
from nnstudent.training.recipe import Recipe
from nnstudent.words import count


def stage(run: RunFolder, recipe: Recipe) -> Stage:
    """Return the stage."""
    preset = run.preset.to_dict()
    return Stage(
        "second",
        partial(work, run, recipe),
        needs=(run.rounds[-1].stage_name("study"),),
        reads=lambda: [run.last_round().fused],
        writes=[run.out / "second"],
        settings={key: preset[key] for key in ("second", "second_classes")},
        load="train",
    )


def work(run: RunFolder, recipe: Recipe) -> Outcome:
    """Train the network that decides some classes again, on a finer grid."""
    from nnstudent.training.study import study_result

    done = study_result(
        run.last_round().fused,
        run.out / "second",
        recipe,
        organs_only=not run.preset.one_student,
        only=run.preset.second_classes,
        device=run.device,
        threads=run.threads,
        progress=run.progress,
    )
    classes = count(len(done.classes), "class", plural="classes")
    return Outcome(f"{classes} on a finer grid", done.failures)
