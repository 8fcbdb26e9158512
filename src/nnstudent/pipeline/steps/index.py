"""``index``: source → ``cohort``."""

from __future__ import annotations

from functools import partial

from nnstudent.cohort.cohort import Cohort
from nnstudent.errors import InputError
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Stage
from nnstudent.words import count


def stage(run: RunFolder) -> Stage:
    """Return the stage."""
    return Stage(
        "index",
        partial(work, run),
        needs=(),
        reads=lambda: [run.source],
        writes=[run.cohort_file],
        settings=None if run.taxonomy is None else run.taxonomy.to_dict(),
    )


def work(run: RunFolder) -> Outcome:
    """Check every file and find out what is annotated where.

    Raises:
        InputError: No case is left to learn from, or no training case has a class of the second
            stage.
    """
    from nnstudent.cohort.index import index

    found = index(
        run.source,
        run.out / "cohort",
        taxonomy=run.taxonomy,
        threads=run.threads,
        progress=run.progress,
    )
    cohort = found.cohort
    for line in found.notices:
        run.notice(line)
    _require_cases(run, cohort)
    table = cohort.taxonomy
    if table.lesions and not any(cohort.annotated_with([name]) for name in table.lesions):
        run.notice(
            f"no case has {' or '.join(table.lesions)} annotated, so no tumor model is trained"
        )
    full, test = len(cohort.annotated_with(table.organs)), len(cohort.test())
    if not test:
        run.notice("no case has the role test; nothing is segmented or scored")
    partly = sum(bool(case.annotated) for case in cohort.not_fully_annotated(table.organs))
    unlabeled = len(cohort.train()) - full - partly
    labeled = f"{count(full, 'case')} fully, {partly} partly and {unlabeled} not labeled"
    return Outcome(f"{labeled}, {test} for testing; label table {table.name}", cohort.broken)


def _require_cases(run: RunFolder, cohort: Cohort) -> None:
    if not cohort.train():
        first = ""
        if cohort.broken:
            first = f" (the first: {cohort.broken[0].case}: {cohort.broken[0].reason})"
        raise InputError(
            f"{run.source}: no usable case to learn from; {len(cohort.test())} for testing only, "
            f"{len(cohort.broken)} broken{first}"
        )
    never = [
        name
        for name in run.preset.second_classes
        if not any(name in case.annotated for case in cohort.train())
    ]
    if never:  # known before days of training
        raise InputError(
            f"second_classes of the preset: {', '.join(never)} annotated in no training case; "
            "leave it out"
        )
