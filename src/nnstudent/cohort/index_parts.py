"""Indexing in parts, by several machines: each part is a cohort of its own, and all become one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nnstudent.cohort.annotate import check_overrides
from nnstudent.cohort.check import Facts
from nnstudent.cohort.cohort import Case, Cohort, read_cohort, write_cohort
from nnstudent.cohort.index import Indexed, index
from nnstudent.cohort.sources.dispatch import read_source
from nnstudent.cohort.sources.source import Source, without_skipped
from nnstudent.errors import Failure
from nnstudent.io.lock import writing
from nnstudent.io.parts import Part, begin_part, end_part, read_parts
from nnstudent.progress import Progress, silent
from nnstudent.serialization import Record
from nnstudent.taxonomy import Taxonomy


def index_part(
    source: Path,
    out: Path,
    part: Part,
    *,
    taxonomy: Taxonomy | None = None,
    annotated: Mapping[str, Sequence[str]] | None = None,
    skip: Collection[str] = (),
    quick: bool = False,
    threads: int | None = None,
    progress: Progress = silent,
) -> Indexed:
    """Check one part of the cases of a source, into ``out/parts``.

    Args:
        source: See :func:`~nnstudent.cohort.index.index`, also for the other arguments.
        out: The cohort folder that the parts share.
        part: The part.
        taxonomy: The label table.
        annotated: Overrides of what the source declares.
        skip: Ids of cases to leave out.
        quick: Whether only the headers of images are read.
        threads: Threads, each of which reads a case.
        progress: Called after each case.

    Raises:
        InputError: As for one call.
        OutputError: ``out`` cannot be written.
    """
    contents = read_source(source, taxonomy=taxonomy)
    entries, _ = without_skipped(contents, skip)
    overrides = dict(annotated or {})
    check_overrides(overrides, [entry.id for entry in entries])
    mine = {entry.id for entry in part.of(entries)}
    others = {entry.id for entry in contents.entries} - mine
    with writing(out, part=part.share):
        begin_part(out, part)
        found = index(
            source,
            _folder(out, part),
            taxonomy=taxonomy,
            annotated={
                pattern: words
                for pattern, words in overrides.items()
                if any(fnmatchcase(id, pattern) for id in mine)
            },
            skip=others | {failure.case for failure in contents.failures},
            quick=quick,
            threads=threads,
            progress=progress,
        )
        end_part(
            out,
            part,
            settings=_settings(contents, overrides, skip),
            data={
                "cases": [case.id for case in found.cohort],
                "facts": {id: facts.to_dict() for id, facts in found.facts.items()},
                "broken": [
                    {"id": item.case, "reason": item.reason} for item in found.cohort.broken
                ],
                "notices": list(found.notices),
            },
        )
    return found


def merge_index(
    source: Path,
    out: Path,
    count: int,
    *,
    taxonomy: Taxonomy | None = None,
    annotated: Mapping[str, Sequence[str]] | None = None,
    skip: Collection[str] = (),
) -> Indexed:
    """Make a cohort from its parts; no image is opened.

    Args:
        source: The source of the parts.
        out: Their cohort folder.
        count: Number of parts.
        taxonomy: Their label table.
        annotated: Their overrides.
        skip: The cases that they left out.

    Returns:
        The cohort and what was found, as one call would return it.

    Raises:
        InputError: A part has not ended, or was run with other options or on other cases.
        OutputError: ``out`` cannot be written.
    """
    contents = read_source(source, taxonomy=taxonomy)
    entries, broken = without_skipped(contents, skip)
    records = read_parts(
        out,
        count,
        settings=_settings(contents, dict(annotated or {}), skip),
        again=f"nnstudent index {source} -o {out}",
    )
    cases: dict[str, Case] = {}
    facts: dict[str, Facts] = {}
    failed: dict[str, Failure] = {}
    for number, record in enumerate(records, 1):
        if ids := record.get("cases", tuple[str, ...]):
            made = read_cohort(_folder(out, Part(number, count)))
            cases |= {case.id: case for case in made if case.id in ids}
        facts |= {
            id: Facts.from_dict(row)
            for id, row in record.get("facts", dict[str, dict[str, Any]]).items()
        }
        for row in record.rows("broken"):
            failed[row.get("id", str)] = Failure(row.get("id", str), row.get("reason", str))
    ids_in_order = [entry.id for entry in entries]
    cohort = Cohort(
        contents.taxonomy,
        tuple(cases[id] for id in ids_in_order if id in cases),
        (*broken, *(failed[id] for id in ids_in_order if id in failed)),
    )
    if cohort.cases:
        with writing(out):
            write_cohort(out, cohort)
    notices = _notices(records)
    return Indexed(cohort, contents.kind, {case.id: facts[case.id] for case in cohort}, notices)


def _folder(out: Path, part: Part) -> Path:
    return out / "parts" / part.name


def _settings(
    source: Source, overrides: Mapping[str, Sequence[str]], skip: Collection[str]
) -> dict[str, Any]:
    return {
        "cases": [entry.id for entry in source.entries],
        "taxonomy": source.taxonomy.to_dict(),
        "annotated": {pattern: list(words) for pattern, words in overrides.items()},
        "skip": sorted(skip),
    }


def _notices(records: Sequence[Record]) -> tuple[str, ...]:
    """The notices of all parts; one of the source is in each of them."""
    lines = [line for record in records for line in record.get("notices", tuple[str, ...])]
    return tuple(dict.fromkeys(lines))
