"""``profile``: ``bundle`` and some test cases → ``efficiency``: time and memory of ``segment`` as a process of its own."""

from __future__ import annotations

from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Stage


def stage(run: RunFolder) -> Stage:
    """Declare the stage."""
    return Stage(
        "profile",
        partial(work, run),
        needs=("export",),
        reads=lambda: [*run.files("test"), run.bundle],
        writes=[run.out / "efficiency"],
    )


def work(run: RunFolder) -> Outcome:
    """Measure what segmenting some test cases of different sizes takes."""
    from nnstudent.pipeline.efficiency import measure, spread

    cases = spread(run.cohort().test())
    if not cases:
        return Outcome("no test case", skipped=True)
    failures = measure(
        cases, run.bundle, run.out / "efficiency", threads=run.threads, progress=run.progress
    )
    return Outcome(f"{len(cases) - len(failures)} test cases", failures)
