"""The stages of a run, one file each: what a stage needs, reads, writes and does."""

from __future__ import annotations

from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Stage
from nnstudent.pipeline.steps import (
    baseline,
    ensemble,
    evaluate,
    export,
    index,
    label,
    profile,
    report,
    second,
    segment,
    select,
    study,
    teach,
)


def stages(run: RunFolder) -> list[Stage]:
    """Return the stages of a run, in order."""
    rounds = [step.stage(run, one) for one in run.rounds for step in (label, select, study)]
    cascade = [] if run.preset.second is None else [second.stage(run, run.preset.second)]
    return [
        index.stage(run),
        *([] if run.given else [teach.stage(run)]),
        *rounds,
        *cascade,
        export.stage(run),
        segment.stage(run),
        profile.stage(run),
        ensemble.stage(run),
        *([baseline.stage(run)] if run.baseline else []),
        evaluate.stage(run),
        report.stage(run),
    ]
