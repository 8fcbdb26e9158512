"""``report``: everything → ``report.html``."""

from __future__ import annotations

from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Stage


def stage(run: RunFolder) -> Stage:
    """Return the stage."""
    return Stage(
        "report",
        partial(work, run),
        needs=("index",),
        reads=lambda: [run.out / "scores"],
        writes=[run.out / "report.html"],
        summarizes=True,
    )


def work(run: RunFolder) -> Outcome:
    """Write the report."""
    from nnstudent.report import write_report

    return Outcome(str(write_report(run.out)))
