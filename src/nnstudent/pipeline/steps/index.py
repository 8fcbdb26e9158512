"""``index``: source → ``cohort``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, get_args

from nnstudent.cohort.cohort import Cohort, Role
from nnstudent.errors import InputError
from nnstudent.io.parts import Part
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Piece, Stage
from nnstudent.words import count

if TYPE_CHECKING:
    from nnstudent.cohort.index import Indexed

ROLES = get_args(Role)


def stage(run: RunFolder) -> Stage:
    """Return the stage."""
    return Stage(
        "index",
        partial(work, run),
        needs=(),
        reads=lambda: [run.source],
        writes=[run.cohort_file],
        settings=None if run.taxonomy is None else run.taxonomy.to_dict(),
        pieces=[Piece(part.name, partial(check, run, part)) for part in run.parts(*ROLES)],
        merge=partial(merge, run),
    )


def work(run: RunFolder) -> Outcome:
    """Check every file and find out what is annotated where.

    Raises:
        InputError: No case is left to learn from, or no training case has a class of the second
            stage.
    """
    from nnstudent.cohort.index import index

    return _outcome(
        run,
        index(
            run.source,
            run.out / "cohort",
            taxonomy=run.taxonomy,
            threads=run.threads,
            progress=run.progress,
        ),
    )


def check(run: RunFolder, part: Part) -> Outcome:
    """Check the files of one part of the cases."""
    from nnstudent.cohort.index_parts import index_part

    found = index_part(
        run.source,
        run.out / "cohort",
        part,
        taxonomy=run.taxonomy,
        threads=run.threads,
        progress=run.progress,
    )
    return Outcome(f"{count(len(found.cohort), 'case')}, part {part}", found.cohort.broken)


def merge(run: RunFolder, pieces: Sequence[Outcome]) -> Outcome:
    """Make the cohort from its parts."""
    from nnstudent.cohort.index_parts import merge_index

    out = run.out / "cohort"
    return _outcome(run, merge_index(run.source, out, len(pieces), taxonomy=run.taxonomy))


def _outcome(run: RunFolder, found: Indexed) -> Outcome:
    """Say what the cohort is good for.

    Raises:
        InputError: No case is left to learn from, or no training case has a class of the second
            stage.
    """
    cohort = found.cohort
    for line in found.notices:
        run.notice(line)
    _require_cases(run, cohort)
    table = cohort.taxonomy
    if (
        table.lesions
        and not run.given
        and not any(cohort.annotated_with([name]) for name in table.lesions)
    ):
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
