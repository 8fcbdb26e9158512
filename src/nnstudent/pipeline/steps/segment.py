"""``segment``: ``bundle`` and the test cases → ``predictions/student``."""

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
        "segment",
        partial(work, run),
        needs=("export",),
        reads=lambda: [*run.files("test"), run.bundle],
        writes=[run.predictions("student")],
        settings=None if run.preset.windows == "guided" else {"windows": run.preset.windows},
        load="segment",
        pieces=[Piece(part.name, partial(work, run, part)) for part in run.parts("test")],
        merge=merge,
    )


def work(run: RunFolder, part: Part = WHOLE) -> Outcome:
    """Segment the test cases as the command does."""
    from nnstudent.inference.segmenter import Segmenter
    from nnstudent.pipeline.predict import predict

    cases = part.of(run.cohort().test())
    if not cases:
        return Outcome("no test case", skipped=True)
    segmenter = Segmenter(run.bundle, threads=run.threads, windows=run.preset.windows)
    failures = predict(cases, segmenter, out=run.predictions("student"), progress=run.progress)
    made = len(cases) - len(failures)
    return Outcome(count(made, "test case"), failures, facts={"cases": made})


def merge(pieces: Sequence[Outcome]) -> Outcome:
    """Count the cases."""
    cases = sum(piece.facts["cases"] for piece in pieces if not piece.skipped)
    failures = [item for piece in pieces for item in piece.failures]
    return Outcome(count(cases, "test case"), failures)
