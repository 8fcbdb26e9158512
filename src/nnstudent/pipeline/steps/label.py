"""``label``: ``cohort`` and ``teachers``, or the student of the round before → ``pseudo``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from nnstudent.io.parts import WHOLE, Part
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.rounds import Round
from nnstudent.pipeline.stages import Outcome, Piece, Stage
from nnstudent.words import count


def stage(run: RunFolder, this: Round) -> Stage:
    """Return the stage of one round."""
    before = run.round_before(this)
    teachers = run.teacher_files if before is None else [before.student, before.pseudo]
    first = "index" if run.given else "teach"
    return Stage(
        this.stage_name("label"),
        partial(work, run, this),
        needs=(first,) if before is None else (before.stage_name("study"),),
        reads=lambda: [run.cohort_file, *run.files("train"), *teachers],
        writes=[this.pseudo],
        settings=[
            run.preset.decision,
            run.preset.label_precision,
            run.keeps_probability,
            run.preset.one_student,
            *([] if run.mapping is None else [dict(run.mapping.targets)]),
        ],
        load="label",
        pieces=[Piece(part.name, partial(work, run, this, part)) for part in run.parts("train")],
        merge=partial(merge, run, this),
    )


def work(run: RunFolder, this: Round, part: Part = WHOLE) -> Outcome:
    """Label what nobody annotated, unless the labels hardly changed in an earlier round."""
    from nnstudent.pseudo.label import label
    from nnstudent.pseudo.settings import LabelSettings

    before = run.round_before(this)
    if before is not None and (nothing := run.settled_by(before)) is not None:
        return nothing
    done = label(
        run.cohort(),
        this.pseudo,
        teachers=run.labelers() if before is None else [before.student],
        mapping=run.mapping if before is None else None,
        options=run.teacher_options,
        settings=LabelSettings(
            part=part,
            round=this.number,
            previous=None if before is None else before.pseudo,
            uncertainty=run.keeps_probability,
        ),
        progress=run.progress,
    )
    facts = {
        "cases": len(done.labels),
        "agreement": [
            sum(item.agreement.values()) / len(item.agreement)
            for item in done.labels
            if item.agreement
        ],
        "changes": [item.changes[-1] for item in done.labels if item.changes],
    }
    made = Outcome(f"{count(len(done.labels), 'case')}, part {part}", done.failures, facts=facts)
    return made if part != WHOLE else merge(run, this, [made])


def merge(run: RunFolder, this: Round, pieces: Sequence[Outcome]) -> Outcome:
    """Say how well the folds agree, and how much the labels changed since the round before."""
    means, changes = (
        [value for piece in pieces for value in piece.facts[name]]
        for name in ("agreement", "changes")
    )
    agreed = f", folds agree {sum(means) / len(means):.2f} on average" if means else ""
    changed = ""
    if changes:
        share = f"{100 * sum(changes) / len(changes):.1f} % of the foreground"
        changed = f", {share} changed"
        if run.settled_round() == this:
            run.notice(f"round {this.number} changed {share}, so no further student is trained")
    cases = count(sum(piece.facts["cases"] for piece in pieces), "case")
    failures = [item for piece in pieces for item in piece.failures]
    return Outcome(f"{cases}{agreed}{changed}", failures)
