"""``baseline``: fully labeled cases → ``baseline``, ``predictions/baseline``.

It is the student's network without pseudo-labels, to compare.
"""

from __future__ import annotations

from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Stage
from nnstudent.words import count


def stage(run: RunFolder) -> Stage:
    """Return the stage."""
    preset = run.preset.to_dict()
    return Stage(
        "baseline",
        partial(work, run),
        needs=("index",),
        reads=lambda: [run.cohort_file, *run.files("train"), *run.files("test")],
        writes=[run.out / "baseline", run.predictions("baseline")],
        settings={
            key: preset[key]
            for key in ("student", "one_student", "windows")
            if (key, preset[key]) != ("windows", "guided")
        },
        load="train",
    )


def work(run: RunFolder) -> Outcome:
    """Train the student's network on fully labeled cases, and segment the test cases with it.

    It learns organs only, as in the paper: a case with all organs annotated need not have its
    tumors annotated.
    """
    from nnstudent.inference.segmenter import Segmenter
    from nnstudent.pipeline.predict import predict
    from nnstudent.pseudo.select import select
    from nnstudent.training.study import study

    cohort, folder = run.cohort(), run.out / "baseline"
    organs = cohort.taxonomy.organs
    chosen = select(
        cohort, folder / "no_pseudo_labels", folder / "fused", classes=organs, progress=run.progress
    )
    model = study(
        folder / "fused",
        folder / "student",
        run.preset.student,
        organs_only=True,
        device=run.device,
        threads=run.threads,
        progress=run.progress,
    )
    segmenter = Segmenter(model, threads=run.threads, windows=run.preset.windows)
    failures = predict(
        cohort.test(), segmenter, out=run.predictions("baseline"), progress=run.progress
    )
    cases = count(len(chosen.kept), "fully labeled case")
    return Outcome(f"the student's network, trained on {cases}", failures)
