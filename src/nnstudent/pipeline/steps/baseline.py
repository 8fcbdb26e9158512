"""``baseline``: fully labeled cases only → ``baseline`` and ``predictions/baseline``: the student without pseudo-labels."""

from __future__ import annotations

from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Stage


def stage(run: RunFolder) -> Stage:
    """Declare the stage."""
    preset = run.preset.to_dict()
    return Stage(
        "baseline",
        partial(work, run),
        needs=("index",),
        reads=lambda: [run.cohort_file, *run.files("train"), *run.files("test")],
        writes=[run.out / "baseline", run.predictions("baseline")],
        settings={key: preset[key] for key in ("student", "one_student")},
    )


def work(run: RunFolder) -> Outcome:
    """Train the student's network on fully labeled cases, and segment the test cases with it.

    It learns organs only, as the paper's does: a case whose organs are all annotated need not have its tumors annotated.
    """
    from nnstudent.inference.segmenter import Segmenter
    from nnstudent.pipeline.predict import predict
    from nnstudent.pseudo.select import select
    from nnstudent.training.study import study

    cohort, at = run.cohort(), run.out / "baseline"
    organs = cohort.taxonomy.organs
    chosen = select(
        cohort, at / "no_pseudo_labels", at / "fused", classes=organs, progress=run.progress
    )
    model = study(
        at / "fused",
        at / "student",
        run.preset.student,
        organs_only=True,
        device=run.device,
        threads=run.threads,
        progress=run.progress,
    )
    segmenter = Segmenter(model, threads=run.threads, windows="guided")
    failures = predict(cohort.test(), run.predictions("baseline"), segmenter, progress=run.progress)
    return Outcome(f"the student's network on {len(chosen.kept)} fully labeled cases", failures)
