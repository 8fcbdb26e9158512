"""``segment``: ``bundle`` and the test cases → ``predictions/student``."""

from __future__ import annotations

from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Stage
from nnstudent.words import count


def stage(run: RunFolder) -> Stage:
    """Return the stage."""
    return Stage(
        "segment",
        partial(work, run),
        needs=("export",),
        reads=lambda: [*run.files("test"), run.bundle],
        writes=[run.predictions("student")],
    )


def work(run: RunFolder) -> Outcome:
    """Segment the test cases as the command does."""
    from nnstudent.inference.segmenter import Segmenter
    from nnstudent.pipeline.predict import predict

    cases = run.cohort().test()
    if not cases:
        return Outcome("no test case", skipped=True)
    segmenter = Segmenter(run.bundle, threads=run.threads, windows="guided")
    failures = predict(cases, segmenter, out=run.predictions("student"), progress=run.progress)
    return Outcome(count(len(cases) - len(failures), "test case"), failures)
