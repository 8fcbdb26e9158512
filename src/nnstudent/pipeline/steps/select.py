"""``select``: ``cohort`` and ``pseudo`` → ``fused``."""

from __future__ import annotations

import logging
from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.rounds import Round
from nnstudent.pipeline.stages import Outcome, Stage
from nnstudent.words import count

log = logging.getLogger(__name__)


def stage(run: RunFolder, this: Round) -> Stage:
    """Return the stage of one round."""
    preset = run.preset.to_dict()
    return Stage(
        this.stage_name("select"),
        partial(work, run, this),
        needs=(this.stage_name("label"),),
        reads=lambda: [run.cohort_file, *run.files("train"), this.pseudo],
        writes=[this.fused],
        settings=[preset["select"], {key: preset[key] for key in ("student", "one_student")}],
    )


def work(run: RunFolder, this: Round) -> Outcome:
    """Keep the pseudo-labels worth learning from and lay the truth over them."""
    from nnstudent.pseudo.select import select

    if (nothing := run.settled_by(this)) is not None:
        return nothing
    cohort = run.cohort()
    classes = run.preset.student_classes(cohort.taxonomy)
    done = select(
        cohort,
        this.pseudo,
        this.fused,
        settings=run.preset.select,
        classes=classes,
        progress=run.progress,
    )
    for decision in done.decisions:
        state = "kept" if decision.kept else "dropped"
        log.debug("%s %s: %s", state, decision.case, decision.why)
    filled = sum(decision.kept and bool(decision.filled) for decision in done.decisions)
    if not filled and any(not decision.kept or decision.open for decision in done.decisions):
        ledger = (this.fused / "ledger.jsonl").relative_to(run.out)
        run.notice(
            f"no pseudo-label was good enough to learn from; {ledger} says why for each case"
        )
    kept = f"{len(done.kept)} of {count(len(done.decisions), 'case')} kept"
    learned = count(len(done.classes), "class", plural="classes")
    return Outcome(f"{kept}, {filled} with pseudo-labels; {learned}", done.failures)
