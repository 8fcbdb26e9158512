"""``ensemble``: ``teachers`` and the test cases → ``predictions/teacher``.

Its scores say how good the pseudo-labels are.
"""

from __future__ import annotations

from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Stage
from nnstudent.words import count


def stage(run: RunFolder) -> Stage:
    """Return the stage."""
    return Stage(
        "ensemble",
        partial(work, run),
        needs=("teach",),
        reads=lambda: [*run.files("test"), run.teachers],
        writes=[run.predictions("teacher")],
    )


def work(run: RunFolder) -> Outcome:
    """Label the test cases with the teachers."""
    from nnstudent.pseudo.label import label_cases
    from nnstudent.pseudo.settings import TeacherOptions
    from nnstudent.pseudo.teacher import open_teachers

    cohort = run.cohort()
    if not cohort.test():
        return Outcome("no test case", skipped=True)
    options = TeacherOptions(decision=run.preset.decision, device=run.device, threads=run.threads)
    teachers = open_teachers(run.teacher_models(), cohort.taxonomy, options=options)
    done = label_cases(
        cohort.test(),
        run.predictions("teacher"),
        teachers=teachers,
        taxonomy=cohort.taxonomy,
        every_teacher=True,
        progress=run.progress,
    )
    return Outcome(f"{count(len(done.labels), 'test case')} by the teachers", done.failures)
