"""A cohort that was indexed before, or that ``phantom`` wrote; its files are checked again."""

from __future__ import annotations

from pathlib import Path

from nnstudent.cohort.cohort import read_cohort
from nnstudent.cohort.sources.source import Entry, Source
from nnstudent.taxonomy import Taxonomy


def read(folder: Path, *, taxonomy: Taxonomy | None = None) -> Source:
    """Read ``cohort.json``.

    Declared classes stay declared; those that were inferred are inferred again.

    Raises:
        InputError: The file is malformed, or a declared class is not in the given table.
    """
    cohort = read_cohort(folder)
    table = taxonomy or cohort.taxonomy
    entries = tuple(
        Entry(
            case.id,
            case.image,
            case.label,
            table.sorted(case.annotated) if case.declared else None,
            case.role,
        )
        for case in cohort.cases
    )
    return Source("an indexed cohort", table, entries, cohort.broken)
