"""``label``: ``cohort`` and ``teachers``, or the student of the round before → ``pseudo``."""

from __future__ import annotations

from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.rounds import Round, unchanged
from nnstudent.pipeline.stages import Outcome, Stage


def stage(run: RunFolder, now: Round) -> Stage:
    """Declare the stage of one round."""
    before = run.round_before(now)
    teachers = [run.teachers] if before is None else [before.student, before.pseudo]
    return Stage(
        now.called("label"),
        partial(work, run, now),
        needs=("teach",) if before is None else (before.called("study"),),
        reads=lambda: [run.cohort_file, *run.files("train"), *teachers],
        writes=[now.pseudo],
        settings=[run.preset.decision, run.keeps_probability, run.preset.one_student],
    )


def work(run: RunFolder, now: Round) -> Outcome:
    """Label what nobody annotated, unless an earlier round changed hardly anything."""
    from nnstudent.pseudo.label import label
    from nnstudent.pseudo.settings import LabelSettings, TeacherOptions

    settled = run.settled_round()
    if settled is not None and settled.number < now.number:
        return unchanged(settled)
    before = run.round_before(now)
    done = label(
        run.cohort(),
        now.pseudo,
        teachers=run.labelers() if before is None else [before.student],
        options=TeacherOptions(
            decision=run.preset.decision, device=run.device, threads=run.threads
        ),
        settings=LabelSettings(
            round=now.number,
            previous=None if before is None else before.pseudo,
            uncertainty=run.keeps_probability,
        ),
        progress=run.progress,
    )
    means = [
        sum(item.agreement.values()) / len(item.agreement) for item in done.labels if item.agreement
    ]
    agreed = f", folds agree {sum(means) / len(means):.2f} on average" if means else ""
    share = f"{100 * (done.mean_change or 0):.1f} % of the foreground"
    changed = "" if done.mean_change is None else f", {share} changed"
    if run.settled_round() == now:
        run.notice(f"round {now.number} changes {share}: no further student is trained")
    return Outcome(f"{len(done.labels)} cases{agreed}{changed}", done.failures)
