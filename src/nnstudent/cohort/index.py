"""Indexing: every file of a source is checked once, and the usable cases become a cohort folder."""

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
    find_override,
    infer_annotated,
    parse_classes,
)
from nnstudent.cohort.check import Facts, check_case, file_stamp
from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.cohort.sources.dispatch import read_source
from nnstudent.cohort.sources.source import Entry, Source, without_skipped
from nnstudent.errors import Failure, InputError, OutputError
from nnstudent.io.atomic import write_json
from nnstudent.io.lock import writing
from nnstudent.io.record import data_hash, read_state
from nnstudent.machine import cores
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy

CHECKS = 2  # to be raised when a check changes, so that files are checked again
_SAVE_SECONDS = 30.0


@dataclass(frozen=True)
class Indexed:
    """A cohort and what indexing found out about it.

    Attributes:
        cohort: The cohort, as written to disk.
        kind: The kind of source, in words.
        facts: What each case's files hold, by case id.
        notices: What was assumed, left out or is unusual, one line each.
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

    Every file is read completely, once: ``out/checks.json`` keeps the results by size and
    modification time. The images stay where they are; ``out/images`` receives those converted from
    DICOM, ``out/labels`` the label maps that had to be changed. If no case is usable, nothing is
    written, and an earlier cohort in ``out`` stays as it was.

    Args:
        source: A FLARE folder, an nnU-Net raw dataset, a .csv or .toml list, or an indexed cohort.
        out: The cohort folder, into which ``cohort.json`` is written.
        taxonomy: The label table; None for the source's own, or FLARE23's if it has none.
        annotated: Overrides of what the source declares: case id or pattern → class names (or
            ``all``, ``organs``, ``none``, ``infer``).
        skip: Ids of cases to leave out.
        threads: Threads, each of which reads a case; None for up to four.
        progress: Called after each case.

    Returns:
        The cohort and what was found; broken cases are in ``cohort.broken``, each with the reason.

    Raises:
        InputError: The source is of no known kind, or a named case or class does not exist.
        OutputError: ``out`` cannot be written.
    """
    contents = read_source(source, taxonomy=taxonomy)
    entries, broken = without_skipped(contents, skip)
    overrides = dict(annotated or {})
    check_overrides(overrides, [entry.id for entry in entries])
    for pattern, words in overrides.items():
        if tuple(words) != (INFER,):
            parse_classes(words, taxonomy=contents.taxonomy, where=f"--annotated {pattern}")
    with writing(out):
        return _index(
            contents, entries, broken, out, overrides=overrides, threads=threads, progress=progress
        )


def _index(
    source: Source,
    entries: Sequence[Entry],
    broken: tuple[Failure, ...],
    out: Path,
    *,
    overrides: Mapping[str, Sequence[str]],
    threads: int | None,
    progress: Progress,
) -> Indexed:
    """Check the entries and write the cohort."""
    notices = list(source.notices)
    cases: list[Case] = []
    facts: dict[str, Facts] = {}
    for entry, result in _check_all(
        entries, out=out, taxonomy=source.taxonomy, threads=threads, progress=progress
    ):
        if isinstance(result, Failure):
            broken = (*broken, result)
            continue
        made = attempt(
            entry,
            partial(_make_case, facts=result, taxonomy=source.taxonomy, overrides=overrides),
            files=_files,
        )
        if isinstance(made, Failure):
            broken = (*broken, made)
            continue
        case, warnings = made
        cases.append(case)
        facts[case.id] = result
        notices += [f"{case.id}: {line}" for line in (*result.warnings, *warnings)]
    if source.declares_all:
        notices += _sparse_labels(cases, facts)
    cohort = Cohort(source.taxonomy, tuple(cases), broken)
    if cases:
        write_cohort(out, cohort)
    elif not (out / "cohort.json").exists():
        _discard(out, entries)
    return Indexed(cohort, source.kind, facts, tuple(notices))


def _discard(out: Path, entries: Sequence[Entry]) -> None:
    """Remove what the checks wrote into a folder that does not become a cohort."""
    copies = [
        out / kind / f"{entry.id}.nii.gz" for kind in ("images", "labels") for entry in entries
    ]
    for path in (out / "checks.json", *copies):
        path.unlink(missing_ok=True)
    for kind in ("images", "labels"):
        with contextlib.suppress(OSError):  # it is missing, or holds something else
            (out / kind).rmdir()


def _files(entry: Entry) -> tuple[Path | None, ...]:
    return entry.image, entry.label


def _make_case(
    entry: Entry, *, facts: Facts, taxonomy: Taxonomy, overrides: Mapping[str, Sequence[str]]
) -> tuple[Case, list[str]]:
    """The case, and warnings about its annotation."""
    words: Sequence[str] | None = find_override(entry.id, overrides)
    if words is None:
        words = entry.annotated
    elif tuple(words) == (INFER,):
        words = None
    if words is None:
        classes = infer_annotated(facts.present, taxonomy=taxonomy)
    else:
        classes = parse_classes(words, taxonomy=taxonomy, where=f"{entry.id}: annotated")
    if classes and facts.label is None:
        raise InputError(
            f"{entry.id}: {', '.join(taxonomy.sorted(classes))} declared as annotated, but the "
            "case has no label map; give its label map"
        )
    extra = [name for name in facts.present if name not in classes]
    warnings = []
    if extra:
        warnings.append(
            f"its label map holds {', '.join(extra)}, not declared as annotated: not learned from"
        )
    label = None if facts.label is None else Path(os.path.abspath(facts.label))
    case = Case(
        id=entry.id,
        image=Path(os.path.abspath(facts.image)),
        label=label,
        annotated=classes,
        declared=words is not None and label is not None,
        role=entry.role,
        warnings=facts.warnings,
    )
    return case, warnings


def _sparse_labels(cases: Sequence[Case], facts: Mapping[str, Facts]) -> list[str]:
    """A notice if the declaration of every class in every case looks wrong."""
    sparse = [
        c.id
        for c in cases
        if c.declared and len(c.annotated) > 3 and 2 * len(facts[c.id].present) < len(c.annotated)
    ]
    if not sparse:
        return []
    some = ", ".join(sparse[:3]) + (" …" if len(sparse) > 3 else "")
    return [
        f"{len(sparse)} of {len(cases)} cases ({some}) hold less than half of the classes that "
        "dataset.json declares; if labels are partial, declare that: --annotated '*=infer'"
    ]


def _check_all(
    entries: Sequence[Entry],
    *,
    out: Path,
    taxonomy: Taxonomy,
    threads: int | None,
    progress: Progress,
) -> Iterator[tuple[Entry, Facts | Failure]]:
    """The facts of each entry, in the source's order; files are read only if something changed."""
    cache = _CheckCache(out / "checks.json")

    def check(entry: Entry) -> tuple[str, bool, Facts]:
        """The cache key, whether the files were read now, and the facts."""
        Case(entry.id, entry.image)  # refuses an id that cannot name a file before one is written
        key = _cache_key(entry, taxonomy)
        known = cache.find(entry.id, key)
        return key, known is None, known or check_case(entry, taxonomy=taxonomy, out=out)

    def remember(entry: Entry, checked: tuple[str, bool, Facts]) -> None:
        key, new, facts = checked
        if new:
            cache.add(entry.id, key, facts)

    try:
        # Threads suffice, because decompression releases the interpreter's lock; each holds a scan.
        threads = threads or min(4, cores())
        results, failures = for_each_case(
            entries,
            check,
            files=_files,
            what="check",
            threads=threads,
            progress=progress,
            done=remember,
        )
    finally:
        # Results are kept even after an interruption, whose error is the one to report.
        with contextlib.suppress(OutputError):
            cache.save()
    outcomes: dict[str, Facts | Failure] = {entry.id: facts for entry, (_, _, facts) in results}
    outcomes |= {failure.case: failure for failure in failures}
    for entry in entries:
        yield entry, outcomes[entry.id]


def _cache_key(entry: Entry, taxonomy: Taxonomy) -> str:
    """A hash of everything that the facts depend on."""
    files = [
        os.path.abspath(entry.image),
        file_stamp(entry.image),
        entry.label and os.path.abspath(entry.label),
        file_stamp(entry.label),
    ]
    return data_hash(
        [CHECKS, files, entry.ids and sorted(entry.ids.items()), [(c.id, c.name) for c in taxonomy]]
    )


class _CheckCache:
    """Results of earlier checks, in ``checks.json``; paths inside its folder are relative to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved = time.monotonic()
        self._rows: dict[str, Any] = {}
        with contextlib.suppress(ValueError, KeyError, TypeError):
            self._rows = dict((read_state(path, what="what index found before") or {})["cases"])

    def find(self, id: str, key: str) -> Facts | None:
        """The facts of a case if neither the key nor the case's copies have changed."""
        try:
            row = self._rows[id]
            facts = Facts.from_dict(row["facts"])
            folder = self._path.parent
            facts = replace(
                facts,
                image=folder / facts.image,
                label=None if facts.label is None else folder / facts.label,
            )
            stamps = [file_stamp(facts.image), file_stamp(facts.label)]
            return facts if row["key"] == key and row["files"] == stamps else None
        except (KeyError, TypeError, ValueError, InputError):
            return None

    def add(self, id: str, key: str, facts: Facts) -> None:
        """Add the facts of a case."""
        folder = Path(os.path.abspath(self._path.parent))

        def stored(path: Path) -> Path:
            absolute = Path(os.path.abspath(path))
            return absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute

        kept = replace(
            facts,
            image=stored(facts.image),
            label=None if facts.label is None else stored(facts.label),
        )
        self._rows[id] = {
            "key": key,
            "files": [file_stamp(facts.image), file_stamp(facts.label)],
            "facts": kept.to_dict(),
        }
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the cache, cases in the order of their ids."""
        write_json(
            self._path,
            {"checks": CHECKS, "cases": {id: self._rows[id] for id in sorted(self._rows)}},
        )
        self._saved = time.monotonic()
