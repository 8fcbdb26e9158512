"""``profile``: ``bundle`` and some test cases → ``efficiency``.

It measures time and memory of ``segment`` in its own process.
"""

from __future__ import annotations

from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Stage
from nnstudent.words import count


def stage(run: RunFolder) -> Stage:
    """Return the stage."""
    return Stage(
        "profile",
        partial(work, run),
        needs=("export",),
        reads=lambda: [*run.files("test"), run.bundle],
        writes=[run.out / "efficiency"],
        load="segment",
    )


def work(run: RunFolder) -> Outcome:
    """Measure time and memory of segmenting test cases of different sizes."""
    from nnstudent.pipeline.efficiency import choose_by_size, measure

    cases = choose_by_size(run.cohort().test())
    if not cases:
        return Outcome("no test case", skipped=True)
    failures = measure(
        cases, run.bundle, out=run.out / "efficiency", threads=run.threads, progress=run.progress
    )
    return Outcome(count(len(cases) - len(failures), "test case"), failures)
