"""``label``: ``cohort`` and ``teachers``, or the student of the round before → ``pseudo``."""

from __future__ import annotations

from functools import partial

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.rounds import Round, nothing_changed
from nnstudent.pipeline.stages import Outcome, Stage
from nnstudent.words import count


def stage(run: RunFolder, this: Round) -> Stage:
    """Return the stage of one round."""
    before = run.round_before(this)
    teachers = [run.teachers] if before is None else [before.student, before.pseudo]
    return Stage(
        this.stage_name("label"),
        partial(work, run, this),
        needs=("teach",) if before is None else (before.stage_name("study"),),
        reads=lambda: [run.cohort_file, *run.files("train"), *teachers],
        writes=[this.pseudo],
        settings=[run.preset.decision, run.keeps_probability, run.preset.one_student],
    )


def work(run: RunFolder, this: Round) -> Outcome:
    """Label what nobody annotated, unless the labels hardly changed in an earlier round."""
    from nnstudent.pseudo.label import label
    from nnstudent.pseudo.settings import LabelSettings, TeacherOptions

    settled = run.settled_round()
    if settled is not None and settled.number < this.number:
        return nothing_changed(settled)
    before = run.round_before(this)
    done = label(
        run.cohort(),
        this.pseudo,
        teachers=run.labelers() if before is None else [before.student],
        options=TeacherOptions(
            decision=run.preset.decision, device=run.device, threads=run.threads
        ),
        settings=LabelSettings(
            round=this.number,
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
    if run.settled_round() == this:
        run.notice(f"round {this.number} changed {share}, so no further student is trained")
    return Outcome(f"{count(len(done.labels), 'case')}{agreed}{changed}", done.failures)
