"""A cohort: cases, each with the classes that are annotated in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from nnstudent.data_files import read_json_table
from nnstudent.errors import Failure, InputError
from nnstudent.io.atomic import write_lines
from nnstudent.serialization import Record
from nnstudent.taxonomy import Taxonomy

Role = Literal["train", "test"]
SCHEMA = 1
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Case:
    """One scan.

    Attributes:
        id: Name of the case, usable as a file name.
        image: The CT.
        label: Its label map, or None.
        annotated: Names of the classes that somebody looked for, whether or not they are there.
        declared: Whether the source declared ``annotated``; otherwise it was inferred from the
            label map.
        role: ``train``, or ``test`` for a case that no stage may learn from.
        warnings: What was guessed about the scan or is unusual about it, one line each; ``index``
            and the report print them.
        checked: Whether ``index`` read the voxels of the image; otherwise only its header.

    Raises:
        InputError: The id cannot name a file, the role is unknown, or there are annotated classes
            but no label map.
    """

    id: str
    image: Path
    label: Path | None = None
    annotated: frozenset[str] = frozenset()
    declared: bool = False
    role: Role = "train"
    warnings: tuple[str, ...] = ()
    checked: bool = True

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise InputError(
                f"case id {self.id!r}; expected letters, digits, '_', '.' and '-' only, "
                "because files are named after it"
            )
        if self.label is None and self.annotated:
            raise InputError(
                f"{self.id}: annotated classes but no label map; "
                "give the label map or leave the classes out"
            )
        if self.role not in ("train", "test"):
            raise InputError(f"{self.id}: role {self.role!r}; expected train or test")


@dataclass(frozen=True)
class Cohort:
    """Cases under one label table; on disk, a folder with ``cohort.json``.

    Attributes:
        taxonomy: The label table.
        cases: The usable cases.
        broken: The cases that were left out, each with the reason.

    Raises:
        InputError: A case id occurs twice, or an annotated class is not in the table.
    """

    taxonomy: Taxonomy
    cases: tuple[Case, ...]
    broken: tuple[Failure, ...] = field(default=())

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for case in self.cases:
            # File systems of macOS and Windows ignore upper and lower case.
            if case.id.lower() in seen:
                raise InputError(
                    f"{case.id}: this case id occurs twice; "
                    "expected ids that differ in more than upper and lower case"
                )
            seen.add(case.id.lower())
        for annotated in {case.annotated for case in self.cases}:
            self.taxonomy.sorted(annotated)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, id: str) -> Case:
        if (case := self.find(id)) is not None:
            return case
        some = ", ".join(case.id for case in self.cases[:5])
        raise InputError(f"no case {id!r} in the cohort; it has {len(self.cases)}: {some} …")

    def find(self, id: str) -> Case | None:
        """The case with this id, or None."""
        return self._by_id.get(id)

    @cached_property
    def _by_id(self) -> dict[str, Case]:
        return {case.id: case for case in self.cases}

    def train(self) -> tuple[Case, ...]:
        """The cases to train on."""
        return tuple(case for case in self.cases if case.role == "train")

    def test(self) -> tuple[Case, ...]:
        """The cases to test on; no stage learns from them."""
        return tuple(case for case in self.cases if case.role == "test")

    def annotated_with(self, classes: Iterable[str]) -> tuple[Case, ...]:
        """The training cases in which all of these classes are annotated."""
        wanted = frozenset(classes)
        return tuple(case for case in self.train() if wanted and wanted <= case.annotated)

    def not_fully_annotated(self, classes: Iterable[str]) -> tuple[Case, ...]:
        """The training cases in which at least one of these classes is not annotated."""
        wanted = frozenset(classes)
        return tuple(case for case in self.train() if not wanted <= case.annotated)


def write_cohort(folder: Path, cohort: Cohort) -> Path:
    """Write ``cohort.json`` into ``folder``.

    Paths inside the folder are stored relative to it, others as absolute paths.

    Returns:
        The file written.
    """
    root = Path(os.path.abspath(folder))  # not resolved: an image in it may be a symbolic link

    def stored(path: Path) -> str:
        absolute = Path(os.path.abspath(path))
        inside = absolute.is_relative_to(root)
        return (absolute.relative_to(root) if inside else absolute).as_posix()

    path = folder / "cohort.json"
    write_lines(path, _lines(cohort, stored))
    return path


def _lines(cohort: Cohort, stored: Callable[[Path], str]) -> Iterator[str]:
    """One JSON document with a line for each case, so that none of it is held as a whole."""
    cases = (
        {
            "id": case.id,
            "image": stored(case.image),
            "label": None if case.label is None else stored(case.label),
            "annotated": list(cohort.taxonomy.sorted(case.annotated)),
            "declared": case.declared,
            "role": case.role,
            **({"warnings": list(case.warnings)} if case.warnings else {}),
            **({} if case.checked else {"checked": False}),
        }
        for case in cohort.cases
    )
    broken = ({"id": failure.case, "reason": failure.reason} for failure in cohort.broken)
    yield f'{{"schema": {SCHEMA},'
    yield f'"taxonomy": {_json(cohort.taxonomy.to_dict())},'
    yield '"cases": ['
    yield from _separated(cases)
    yield '], "broken": ['
    yield from _separated(broken)
    yield "]}"


def _separated(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    before: str | None = None
    for row in rows:
        if before is not None:
            yield f"{before},"
        before = _json(row)
    if before is not None:
        yield before


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False)


def read_cohort(folder: Path, *, made_by: str = "index SOURCE") -> Cohort:
    """Read a cohort folder.

    Args:
        folder: The folder, with ``cohort.json``.
        made_by: The verb that makes such a folder, with its inputs, for the error message.

    Raises:
        InputError: ``cohort.json`` is missing, malformed or of another schema.
    """
    path = folder / "cohort.json"
    if not path.is_file():
        raise InputError(
            f"{folder}: no cohort (it has no cohort.json); "
            f"make one with: nnstudent {made_by} -o {folder}"
        )
    data = read_json_table(path, what="a cohort")
    record = Record(data, str(path))
    if (schema := record.get("schema", int)) != SCHEMA:
        raise InputError(f"{path}: schema {schema}; expected {SCHEMA}; index the source again")
    known: dict[frozenset[str], frozenset[str]] = {}  # cases share the few sets that there are
    rows, cases = record.get("cases", list), []
    for place, row in enumerate(rows):
        rows[place] = None  # of 150,000 cases, rows and cases are not held at the same time
        cases.append(_case(Record(row, f"{path}: cases[{place}]"), folder, known))
    broken = tuple(
        Failure(row.get("id", str), row.get("reason", str)) for row in record.rows("broken")
    )
    try:
        return Cohort(Taxonomy.from_dict(record.get("taxonomy", dict)), tuple(cases), broken)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _case(row: Record, folder: Path, known: dict[frozenset[str], frozenset[str]]) -> Case:
    id, image, label = row.get("id", str), row.get("image", str), row.get("label", str | None)
    annotated = frozenset(row.get("annotated", tuple[str, ...]))
    declared, role = row.get("declared", bool), row.get("role", Role)
    warnings = row.get("warnings", tuple[str, ...], ())
    checked = row.get("checked", bool, True)
    try:
        return Case(
            id=id,
            image=folder / image,
            label=None if label is None else folder / label,
            annotated=known.setdefault(annotated, annotated),
            declared=declared,
            role=role,
            warnings=warnings,
            checked=checked,
        )
    except InputError as error:
        raise InputError(f"{row.where}: {error}") from error
