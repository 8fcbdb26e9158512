"""``ensemble``: ``teachers`` and the test cases → ``predictions/teacher``.

Its scores say how good the pseudo-labels are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from nnstudent.io.parts import WHOLE, Part
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Piece, Stage
from nnstudent.words import count


def stage(run: RunFolder) -> Stage:
    """Return the stage."""
    return Stage(
        "ensemble",
        partial(work, run),
        needs=("index" if run.given else "teach",),
        reads=lambda: [*run.files("test"), *run.teacher_files],
        writes=[run.predictions("teacher")],
        load="label",
        pieces=[Piece(part.name, partial(work, run, part)) for part in run.parts("test")],
        merge=merge,
    )


def work(run: RunFolder, part: Part = WHOLE) -> Outcome:
    """Label the test cases with the teachers."""
    from nnstudent.pseudo.label import label_cases
    from nnstudent.pseudo.settings import LabelSettings
    from nnstudent.pseudo.teacher import open_teachers

    cohort = run.cohort()
    cases = part.of(cohort.test())
    if not cases:
        return Outcome("no test case", skipped=True)
    teachers = open_teachers(
        run.teacher_models(), cohort.taxonomy, mapping=run.mapping, options=run.teacher_options
    )
    done = label_cases(
        cases,
        run.predictions("teacher"),
        teachers=teachers,
        taxonomy=cohort.taxonomy,
        settings=LabelSettings(part=part),
        every_teacher=True,
        progress=run.progress,
    )
    facts = {"cases": len(done.labels)}
    text = f"{count(len(done.labels), 'test case')} by the teachers"
    return Outcome(text, done.failures, facts=facts)


def merge(pieces: Sequence[Outcome]) -> Outcome:
    """Count the cases."""
    cases = sum(piece.facts["cases"] for piece in pieces if not piece.skipped)
    failures = [item for piece in pieces for item in piece.failures]
    return Outcome(f"{count(cases, 'test case')} by the teachers", failures)
