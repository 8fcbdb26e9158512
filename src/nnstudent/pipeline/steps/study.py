"""``study``: ``fused`` → ``student``."""

from __future__ import annotations

from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.rounds import Round, unchanged
from nnstudent.pipeline.stages import Outcome, Stage


def stage(run: RunFolder, now: Round) -> Stage:
    """Declare the stage of one round."""
    preset = run.preset.to_dict()
    # A later round's pseudo-labels tell whether it has anything new to teach.
    reads = [now.fused] if run.round_before(now) is None else [now.fused, now.pseudo]
    return Stage(
        now.called("study"),
        partial(work, run, now),
        needs=(now.called("select"),),
        reads=lambda: reads,
        writes=[now.student],
        settings={key: preset[key] for key in ("student", "one_student")},
    )


def work(run: RunFolder, now: Round) -> Outcome:
    """Train the student."""
    from nnstudent.training.study import study_result

    settled = run.settled_round()
    if settled is not None and settled.number <= now.number:
        return unchanged(settled)
    done = study_result(
        now.fused,
        now.student,
        run.preset.student,
        organs_only=not run.preset.one_student,
        device=run.device,
        threads=run.threads,
        progress=run.progress,
    )
    return Outcome(f"{len(done.classes)} classes", done.failures)
