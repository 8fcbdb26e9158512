"""``select``: ``cohort`` and ``pseudo`` → ``fused``."""

from __future__ import annotations

import logging
from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.rounds import Round, unchanged
from nnstudent.pipeline.stages import Outcome, Stage

log = logging.getLogger(__name__)


def stage(run: RunFolder, now: Round) -> Stage:
    """Declare the stage of one round."""
    preset = run.preset.to_dict()
    return Stage(
        now.called("select"),
        partial(work, run, now),
        needs=(now.called("label"),),
        reads=lambda: [run.cohort_file, *run.files("train"), now.pseudo],
        writes=[now.fused],
        settings=[preset["select"], {key: preset[key] for key in ("student", "one_student")}],
    )


def work(run: RunFolder, now: Round) -> Outcome:
    """Keep the pseudo-labels worth learning from and lay the truth over them."""
    from nnstudent.pseudo.select import select

    settled = run.settled_round()
    if settled is not None and settled.number <= now.number:
        return unchanged(settled)
    cohort = run.cohort()
    classes = run.preset.student_classes(cohort.taxonomy)
    done = select(
        cohort,
        now.pseudo,
        now.fused,
        settings=run.preset.select,
        classes=classes,
        progress=run.progress,
    )
    for choice in done.decisions:
        log.debug("%s %s: %s", "kept" if choice.kept else "dropped", choice.case, choice.why)
    filled = sum(choice.kept and bool(choice.filled) for choice in done.decisions)
    if not filled and any(not choice.kept or choice.open for choice in done.decisions):
        ledger = (now.fused / "ledger.jsonl").relative_to(run.out)
        run.notice(
            f"no pseudo-label was good enough to learn from; {ledger} says why for each case"
        )
    kept = f"{len(done.kept)} of {len(done.decisions)} cases kept"
    return Outcome(
        f"{kept}, {filled} with pseudo-labels; {len(done.classes)} classes", done.failures
    )
