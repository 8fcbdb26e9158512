"""Indexing: every file of a source is checked once, and the usable cases become a cohort folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from nnstudent.cases import attempt, for_each_case
from nnstudent.cohort.annotate import (
    INFER,
    check_overrides,
    find_override,
    infer_annotated,
    parse_classes,
)
from nnstudent.cohort.check import Facts, check_case
from nnstudent.cohort.check_cache import NAME, CheckCache
from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.cohort.sources.dispatch import read_source
from nnstudent.cohort.sources.source import Entry, Source, without_skipped
from nnstudent.errors import Failure, InputError
from nnstudent.io.lock import writing
from nnstudent.machine import cores
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy

_MANY = 1000  # cases from which looking for changes takes long enough to say so
_SCAN_BYTES = 2e9  # that checking a long scan takes


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
    quick: bool = False,
    threads: int | None = None,
    progress: Progress = silent,
) -> Indexed:
    """Make a cohort folder from a source.

    Every file is read completely, once: ``out/checks.jsonl`` keeps the results by size and
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
        quick: Whether only the headers of images are read (``Case.checked`` is then False); the
            stages that read the images check them. Label maps and DICOM series are read.
        threads: Threads, each of which reads a case; None for one per core, if memory allows.
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
            contents,
            entries,
            broken,
            out,
            overrides=overrides,
            check=partial(_check_all, quick=quick, threads=threads, progress=progress),
        )


def _index(
    source: Source,
    entries: Sequence[Entry],
    failures: Sequence[Failure],
    out: Path,
    *,
    overrides: Mapping[str, Sequence[str]],
    check: Callable[..., Iterator[tuple[Entry, Facts | Failure]]],
) -> Indexed:
    """Check the entries and write the cohort."""
    notices, broken = list(source.notices), list(failures)
    cases: list[Case] = []
    facts: dict[str, Facts] = {}
    for entry, result in check(entries, out=out, taxonomy=source.taxonomy):
        if isinstance(result, Failure):
            broken.append(result)
            continue
        made = attempt(
            entry,
            partial(_make_case, facts=result, taxonomy=source.taxonomy, overrides=overrides),
            files=_files,
        )
        if isinstance(made, Failure):
            broken.append(made)
            continue
        case, warnings = made
        cases.append(case)
        facts[case.id] = result
        notices += [f"{case.id}: {line}" for line in (*result.warnings, *warnings)]
    if source.declares_all:
        notices += _sparse_labels(cases, facts)
    cohort = Cohort(source.taxonomy, tuple(cases), tuple(broken))
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
    for path in (out / NAME, *copies):
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
    label = None if facts.label is None else _absolute(facts.label)
    case = Case(
        id=entry.id,
        image=_absolute(facts.image),
        label=label,
        annotated=classes,
        declared=words is not None and label is not None,
        role=entry.role,
        warnings=facts.warnings,
        checked=facts.checked,
    )
    return case, warnings


def _absolute(path: Path) -> Path:
    """The same object if it is absolute: of 150,000 cases, paths are half of the memory."""
    text = os.path.abspath(path)
    return path if text == str(path) else Path(text)


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
    quick: bool,
    threads: int | None,
    progress: Progress,
) -> Iterator[tuple[Entry, Facts | Failure]]:
    """The facts of each entry, in the source's order; files are read only if something changed."""
    threads = threads or reading_threads()
    outcomes: dict[str, Facts | Failure] = {}
    with CheckCache(out, taxonomy) as cache:
        if len(cache):
            found, _ = for_each_case(
                entries,
                partial(cache.find, quick=quick),
                files=_files,
                what="look for changes",  # in one thread: most of it holds the interpreter's lock
                progress=progress if len(entries) > _MANY else silent,
            )
            outcomes |= {entry.id: facts for entry, facts in found if facts is not None}

        def check(entry: Entry) -> Facts:
            Case(entry.id, entry.image)  # refuses an id that cannot name a file
            return check_case(entry, taxonomy=taxonomy, out=out, quick=quick)

        # Threads suffice, because decompression releases the interpreter's lock.
        results, failures = for_each_case(
            [entry for entry in entries if entry.id not in outcomes],
            check,
            files=_files,
            what="check",
            threads=threads,
            progress=_counted_from(len(outcomes), progress),
            done=cache.add,
        )
    outcomes |= {entry.id: facts for entry, facts in results}
    outcomes |= {failure.case: failure for failure in failures}
    for entry in entries:
        yield entry, outcomes.pop(entry.id)


def _counted_from(known: int, progress: Progress) -> Progress:
    """Progress in which what was known before counts as done, but not for the time that is left."""

    def count(what: str, done: int, total: int, **more: str) -> None:
        progress(what, known + done, known + total, **more)

    return count


def reading_threads() -> int:
    """How many scans are read at a time: one for each core, as far as memory allows."""
    return max(1, min(cores(), int(psutil.virtual_memory().available / _SCAN_BYTES)))
