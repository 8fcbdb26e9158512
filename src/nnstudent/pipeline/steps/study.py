"""``study``: ``fused`` → ``student``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.rounds import Round
from nnstudent.pipeline.stages import Outcome, Piece, Stage
from nnstudent.words import count


def stage(run: RunFolder, this: Round) -> Stage:
    """Return the stage of one round."""
    preset = run.preset.to_dict()
    # A later round's pseudo-labels say whether it has anything new to teach.
    reads = [this.fused] if run.round_before(this) is None else [this.fused, this.pseudo]
    reads += [] if run.start is None else [run.start.path]
    return Stage(
        this.stage_name("study"),
        partial(work, run, this),
        needs=(this.stage_name("select"),),
        reads=lambda: reads,
        writes=[this.student],
        settings={key: preset[key] for key in ("student", "one_student")},
        load="train",
        # Cases are preprocessed by a piece of its own, so that no GPU has to wait for it.
        pieces=[
            Piece("prepare", partial(prepare, run, this), load="light"),
            Piece("train", partial(work, run, this), after="prepare"),
        ],
        merge=merge,
    )


def prepare(run: RunFolder, this: Round) -> Outcome:
    """Preprocess the cases that the student learns from."""
    from nnstudent.training.study import prepare_study

    if (nothing := run.settled_by(this)) is not None:
        return nothing
    failures = prepare_study(
        this.fused,
        this.student,
        run.preset.student,
        organs_only=not run.preset.one_student,
        start=run.start,
        threads=run.threads or run.preset.cluster.light.cores,
        progress=run.progress,
    )
    return Outcome("prepared", failures)


def work(run: RunFolder, this: Round) -> Outcome:
    """Train the student."""
    from nnstudent.training.study import study_result

    if (nothing := run.settled_by(this)) is not None:
        return nothing
    done = study_result(
        this.fused,
        this.student,
        run.preset.student,
        organs_only=not run.preset.one_student,
        start=run.start,
        device=run.device,
        threads=run.threads,
        progress=run.progress,
    )
    return Outcome(count(len(done.classes), "class", plural="classes"), done.failures)


def merge(pieces: Sequence[Outcome]) -> Outcome:
    """Return what the training says, with the cases that either piece left out."""
    failures = {item.case: item for piece in pieces for item in piece.failures}
    return replace(pieces[-1], failures=tuple(failures.values()))
