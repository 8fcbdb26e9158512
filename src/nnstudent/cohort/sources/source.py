"""The common form of all sources: entries that name files, none of which has been read yet."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnstudent.cohort.cohort import Role
from nnstudent.errors import Failure, InputError
from nnstudent.taxonomy import Taxonomy

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LONGEST_ID = 120

EXPECTED = (
    "a list (.csv or .toml), a FLARE folder (imagesTr…, labelsTr…, unlabeled…), "
    "an nnU-Net raw dataset (dataset.json), a DICOM export (a folder for each patient or study), "
    "or an indexed cohort (cohort.json)"
)
LIST_THEM = (
    "list the scans in a .csv with the header id,image,label,annotated,role "
    "(only image is needed) and give that"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One case as a source names it; its files have not been read yet.

    Attributes:
        id: The case's id, not checked yet.
        image: The image file, a DICOM series or an archive, see
            :func:`~nnstudent.io.scan.read_scan`.
        label: The label map, or None.
        annotated: Names of the annotated classes as the source declares them; None if it declares
            nothing.
        role: ``train`` or ``test``.
        ids: Ids of the label map → ids of the table, if they differ; 0 drops a class. None if the
            label map has the table's ids.
        choose: Whether a rule chooses among several DICOM series; otherwise such a case is broken.
    """

    id: str
    image: Path
    label: Path | None = None
    annotated: tuple[str, ...] | None = None
    role: Role = "train"
    ids: Mapping[int, int] | None = None
    choose: bool = False


@dataclass(frozen=True)
class Source:
    """A source's entries under a label table.

    Attributes:
        kind: The kind of source, in words.
        taxonomy: The label table.
        entries: The cases, in a fixed order.
        failures: Cases that are broken before a file is opened.
        notices: What was assumed or left out, one line each.
        declares_all: Whether this kind of source declares every class in every case, also where
            labels are partial.
    """

    kind: str
    taxonomy: Taxonomy
    entries: tuple[Entry, ...]
    failures: tuple[Failure, ...] = ()
    notices: tuple[str, ...] = ()
    declares_all: bool = False


def safe_id(name: str) -> str:
    """A case id made from a file name, safe to name files with.

    The same name always gives the same id. Runs of other characters become ``_``. If letters
    outside ASCII are lost, six digits of a hash keep names apart.
    """
    id = _UNSAFE.sub("_", name).strip("_.-")
    if not name.isascii() or len(id) > _LONGEST_ID or not id:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        id = f"{id[:_LONGEST_ID] or 'case'}_{digest[:6]}"
    return id


def expand(text: str, *, root: Path, where: str) -> Path:
    """Expand ``${VARIABLES}`` and ``~`` in a path, which is relative to ``root``.

    Raises:
        InputError: A variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        found = os.environ.get(name)
        if not found:
            raise InputError(f"{where}: ${{{name}}} is not set; set it first: export {name}=FOLDER")
        return found

    path = Path(_VARIABLE.sub(value, text)).expanduser()
    return path if path.is_absolute() else root / path


def without_twins(entries: Iterable[Entry]) -> tuple[tuple[Entry, ...], tuple[Failure, ...]]:
    """Separate entries whose ids are equal apart from upper and lower case.

    Some file systems cannot hold both, so all entries of such an id fail.
    """
    entries = tuple(entries)
    count = Counter(entry.id.lower() for entry in entries)
    kept = tuple(entry for entry in entries if count[entry.id.lower()] == 1)
    twins = [entry for entry in entries if count[entry.id.lower()] > 1]
    return kept, tuple(
        Failure(
            e.id,
            f"{e.image}: the id {e.id} occurs {count[e.id.lower()]} times; "
            "give each case an id of its own",
        )
        for e in twins
    )


def without_skipped(
    source: Source, skip: Collection[str]
) -> tuple[tuple[Entry, ...], tuple[Failure, ...]]:
    """The entries and failures of a source without those to skip.

    Raises:
        InputError: A case to skip is not in the source.
    """
    known = {entry.id for entry in source.entries} | {failure.case for failure in source.failures}
    skip = frozenset(skip)
    for id in sorted(skip):
        if id not in known:
            raise InputError(
                f"--skip {id}: no such case in the source; it has {_some(sorted(known))}"
            )
    entries = tuple(entry for entry in source.entries if entry.id not in skip)
    return entries, tuple(failure for failure in source.failures if failure.case not in skip)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) or "none") + more
