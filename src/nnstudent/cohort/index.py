"""A cohort folder from a source: every file is looked at once, and what is broken is named."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from nnstudent.cases import attempt, for_each_case
from nnstudent.cohort.annotate import (
    INFER,
    check_overrides,
    classes_from_words,
    inferred,
    overriding,
)
from nnstudent.cohort.check import Facts, check, stamp
from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.cohort.sources.dispatch import read_source
from nnstudent.cohort.sources.source import Entry, Source, without_skipped
from nnstudent.errors import Failure, InputError, OutputError
from nnstudent.io.atomic import write_json
from nnstudent.io.lock import writing
from nnstudent.io.record import data_hash, read_state
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy

CHECKS = 2  # changes when a check changes: what was found before is then looked at again
_SAVE_SECONDS = 30.0


@dataclass(frozen=True)
class Indexed:
    """A cohort and what indexing found out about it.

    Attributes:
        cohort: The cohort, as written to disk.
        kind: What the source was taken for, in words.
        facts: By case id, what is in its files.
        notices: What was assumed or left out, and what is odd, one line each.
    """

    cohort: Cohort
    kind: str
    facts: Mapping[str, Facts]
    notices: tuple[str, ...] = field(default=())


def index(
    source: Path,
    out: Path,
    *,
    taxonomy: Taxonomy | None = None,
    annotated: Mapping[str, Sequence[str]] | None = None,
    skip: Collection[str] = (),
    threads: int | None = None,
    progress: Progress = silent,
) -> Indexed:
    """Make a cohort folder from a source.

    Every file is read whole, once: ``out/checks.json`` remembers what was found, by size and time of change. The images stay
    where they are; ``out/images`` gets those converted from DICOM, ``out/labels`` the label maps that had to be changed.

    Args:
        source: A FLARE folder, an nnU-Net raw dataset, a .csv or .toml list, or an indexed cohort.
        out: The cohort folder; gets ``cohort.json``.
        taxonomy: The label table; None for the source's own, else FLARE23's.
        annotated: Case id or pattern → class names (or ``all``, ``organs``, ``none``, ``infer``), over what the source declares.
        skip: Ids of cases to leave out.
        threads: Processor threads, each of which reads a case; None for up to four.
        progress: Told about each case.

    Returns:
        The cohort and what was found; broken cases are in ``cohort.broken``, each with the reason.

    Raises:
        InputError: The source is of no known kind, or a case or class that was named does not exist.
        OutputError: ``out`` cannot be written.
    """
    found = read_source(source, taxonomy=taxonomy)
    entries, broken = without_skipped(found, skip)
    overrides = dict(annotated or {})
    check_overrides(overrides, [entry.id for entry in entries])
    for pattern, words in overrides.items():
        if tuple(words) != (INFER,):
            classes_from_words(words, taxonomy=found.taxonomy, where=f"--annotated {pattern}")
    with writing(out):
        return _index(
            found, entries, broken, out, overrides=overrides, threads=threads, progress=progress
        )


def _index(
    found: Source,
    entries: Sequence[Entry],
    broken: tuple[Failure, ...],
    out: Path,
    *,
    overrides: Mapping[str, Sequence[str]],
    threads: int | None,
    progress: Progress,
) -> Indexed:
    """The cohort of these entries, written into ``out``."""
    notices = list(found.notices)
    cases: list[Case] = []
    facts: dict[str, Facts] = {}
    for entry, result in _checked(
        entries, out=out, taxonomy=found.taxonomy, threads=threads, progress=progress
    ):
        if isinstance(result, Failure):
            broken = (*broken, result)
            continue
        made = attempt(
            entry,
            partial(_case, facts=result, taxonomy=found.taxonomy, overrides=overrides),
            files=_files,
        )
        if isinstance(made, Failure):
            broken = (*broken, made)
            continue
        case, odd = made
        cases.append(case)
        facts[case.id] = result
        notices += [f"{case.id}: {line}" for line in (*result.warnings, *odd)]
    notices += _doubts(found.kind, cases, facts)
    cohort = Cohort(found.taxonomy, tuple(cases), broken)
    write_cohort(out, cohort)
    return Indexed(cohort, found.kind, facts, tuple(notices))


def _files(entry: Entry) -> tuple[Path | None, ...]:
    return entry.image, entry.label


def _case(
    entry: Entry, *, facts: Facts, taxonomy: Taxonomy, overrides: Mapping[str, Sequence[str]]
) -> tuple[Case, list[str]]:
    """The case, and what is odd about its annotation."""
    override = overriding(entry.id, overrides)
    said = (
        entry.annotated
        if override is None
        else None
        if tuple(override) == (INFER,)
        else tuple(override)
    )
    declared = said is not None
    where = f"{entry.id}: annotated"
    classes = (
        inferred(facts.present, taxonomy=taxonomy)
        if said is None
        else classes_from_words(said, taxonomy=taxonomy, where=where)
    )
    if classes and facts.label is None:
        raise InputError(
            f"{entry.id}: {', '.join(taxonomy.sorted(classes))} said to be annotated, but it has no label map; give its label"
        )
    extra = [name for name in facts.present if name not in classes]
    odd = (
        [f"its label map holds {', '.join(extra)}, not declared as annotated: not learned from"]
        if extra
        else []
    )
    image, label = (
        Path(os.path.abspath(facts.image)),
        facts.label and Path(os.path.abspath(facts.label)),
    )
    return Case(
        entry.id, image, label, classes, declared and label is not None, entry.role, facts.warnings
    ), odd


def _doubts(kind: str, cases: Sequence[Case], facts: Mapping[str, Facts]) -> list[str]:
    """One line where a layout's declaration looks wrong: nnU-Net's says that every class is annotated in every case."""
    sparse = [
        c.id
        for c in cases
        if c.declared and len(c.annotated) > 3 and 2 * len(facts[c.id].present) < len(c.annotated)
    ]
    if kind != "an nnU-Net raw dataset" or not sparse:
        return []
    some = ", ".join(sparse[:3]) + (" …" if len(sparse) > 3 else "")
    return [
        f"{len(sparse)} of {len(cases)} cases ({some}) hold less than half of the classes that dataset.json declares; "
        "if labels are partial, say so: --annotated '*=infer'"
    ]


def _checked(
    entries: Sequence[Entry],
    *,
    out: Path,
    taxonomy: Taxonomy,
    threads: int | None,
    progress: Progress,
) -> Iterator[tuple[Entry, Facts | Failure]]:
    """What was found of each entry, in the source's order; read anew only where something changed."""
    book = _Book(out / "checks.json")

    def look(entry: Entry) -> tuple[str, bool, Facts]:
        """Under which circumstances it was looked at, whether that was now, and what was found."""
        Case(
            entry.id, entry.image
        )  # refuses an id that could not name a file, before a file is named by it
        key = _key(entry, taxonomy)
        known = book.find(entry.id, key)
        return key, known is None, known or check(entry, taxonomy=taxonomy, out=out)

    def note(entry: Entry, looked: tuple[str, bool, Facts]) -> None:
        key, new, facts = looked
        if new:
            book.note(entry.id, key, facts)

    try:
        # Threads, for reading is unpacking, which runs without the interpreter's lock; few, for each holds a scan.
        some = threads or min(4, os.cpu_count() or 1)
        results, failures = for_each_case(
            entries, look, files=_files, what="check", threads=some, progress=progress, done=note
        )
    finally:
        # What was found stays found, also when it is stopped; the error that stopped it is the one to tell.
        with contextlib.suppress(OutputError):
            book.save()
    outcomes: dict[str, Facts | Failure] = {entry.id: facts for entry, (_, _, facts) in results}
    outcomes |= {failure.case: failure for failure in failures}
    for entry in entries:
        yield entry, outcomes[entry.id]


def _key(entry: Entry, taxonomy: Taxonomy) -> str:
    """Everything that what is found depends on."""
    files = [
        os.path.abspath(entry.image),
        stamp(entry.image),
        entry.label and os.path.abspath(entry.label),
        stamp(entry.label),
    ]
    return data_hash(
        [CHECKS, files, entry.ids and sorted(entry.ids.items()), [(c.id, c.name) for c in taxonomy]]
    )


class _Book:
    """What was found before, on disk in ``checks.json``; paths inside its folder are relative to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved = time.monotonic()
        self._rows: dict[str, Any] = {}
        with contextlib.suppress(ValueError, KeyError, TypeError):
            self._rows = dict((read_state(path, what="what index found before") or {})["cases"])

    def find(self, id: str, key: str) -> Facts | None:
        """What is known of a case, if it was found under the same circumstances and its copies are still the same."""
        try:
            row = self._rows[id]
            facts = Facts.from_dict(row["facts"])
            folder = self._path.parent
            facts = replace(
                facts,
                image=folder / facts.image,
                label=None if facts.label is None else folder / facts.label,
            )
            return (
                facts
                if row["key"] == key and row["files"] == [stamp(facts.image), stamp(facts.label)]
                else None
            )
        except (KeyError, TypeError, ValueError):
            return None

    def note(self, id: str, key: str, facts: Facts) -> None:
        """Remember what was found."""
        folder = Path(os.path.abspath(self._path.parent))

        def place(path: Path) -> Path:
            whole = Path(os.path.abspath(path))
            return whole.relative_to(folder) if whole.is_relative_to(folder) else whole

        kept = replace(
            facts,
            image=place(facts.image),
            label=None if facts.label is None else place(facts.label),
        )
        self._rows[id] = {
            "key": key,
            "files": [stamp(facts.image), stamp(facts.label)],
            "facts": kept.to_dict(),
        }
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write it, cases in the order of their ids."""
        write_json(
            self._path,
            {"checks": CHECKS, "cases": {id: self._rows[id] for id in sorted(self._rows)}},
        )
        self._saved = time.monotonic()
