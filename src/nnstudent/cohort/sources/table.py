"""A list of cases: CSV with a header, or TOML with ``[[case]]`` tables.

Paths are relative to the list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnstudent.cohort.cohort import Role
from nnstudent.cohort.sources.source import Entry, Source, expand, safe_id, without_twins
from nnstudent.data_files import MAX_TOML_BYTES, parse_csv, parse_toml, read_text
from nnstudent.errors import Failure, InputError
from nnstudent.io.finder import case_names
from nnstudent.taxonomy import Taxonomy, flare23, read_taxonomy

KEYS = ("id", "image", "label", "annotated", "role")
_ROLES: dict[str, Role] = {"train": "train", "test": "test"}


def read_csv(path: Path, *, taxonomy: Taxonomy | None = None) -> Source:
    """Read a CSV list.

    Its header has ``image`` and any of ``id``, ``label``, ``annotated`` and ``role``.

    Raises:
        InputError: The file cannot be read, lacks ``image``, has an unknown column, or names an
            unset variable.
    """
    text = read_text(path, what="a list of cases")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    names, rows = parse_csv(text, where=str(path), delimiter=delimiter)
    if "image" not in names:
        raise InputError(
            f"{path}: the columns are {', '.join(names) or 'none'}; "
            f"expected a header with image and any of {', '.join(KEYS)}"
        )
    return _source(path, "a CSV list", taxonomy or flare23(), rows)


def read_toml(path: Path, *, taxonomy: Taxonomy | None = None) -> Source:
    """Read a TOML list.

    It has ``[[case]]`` tables, and optionally ``taxonomy`` (a file) and ``[defaults]``.

    Raises:
        InputError: The file cannot be read, has an unknown key, or names an unset variable.
    """
    data = parse_toml(
        read_text(path, what="a list of cases", most=MAX_TOML_BYTES),
        where=str(path),
        what="a list of cases",
    )
    unknown = sorted(set(data) - {"taxonomy", "defaults", "case"})
    if unknown:
        raise InputError(
            f"{path}: unknown key {unknown[0]!r}; known are taxonomy, [defaults] and [[case]]"
        )
    defaults, cases = data.get("defaults", {}), data.get("case", [])
    if (
        not isinstance(defaults, dict)
        or not isinstance(cases, list)
        or not all(isinstance(row, dict) for row in cases)
    ):
        raise InputError(f"{path}: expected [[case]] tables, and at most one table [defaults]")
    table = taxonomy
    if table is None and "taxonomy" in data:
        if not isinstance(data["taxonomy"], str):
            raise InputError(
                f"{path}: taxonomy = {data['taxonomy']!r}; expected the name of a TOML file"
            )
        table = read_taxonomy(expand(data["taxonomy"], root=path.parent, where=str(path)))
    rows = (
        (f"{path}, [[case]] {number}", defaults | row) for number, row in enumerate(cases, start=1)
    )
    return _source(path, "a TOML list", table or flare23(), rows)


def _source(
    path: Path, kind: str, table: Taxonomy, rows: Iterable[tuple[str, Mapping[str, Any]]]
) -> Source:
    entries: list[Entry] = []
    failures: list[Failure] = []
    for where, raw in rows:
        row = {
            key: value.strip() if isinstance(value, str) else value for key, value in raw.items()
        }
        row = {key: value for key, value in row.items() if value is not None and value != ""}
        if not row:
            continue
        unknown = sorted(str(key) for key in row if key not in KEYS)
        if unknown:
            raise InputError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(KEYS)}")
        wrong = [
            key for key in KEYS if key != "annotated" and not isinstance(row.get(key, ""), str)
        ]
        if wrong:
            raise InputError(f"{where}: {wrong[0]} = {row[wrong[0]]!r}; expected text")
        if "image" not in row:
            failures.append(
                Failure(
                    str(row.get("id", where.removeprefix(f"{path}, "))),
                    f"{where}: has no image; every case needs one",
                )
            )
            continue
        image = expand(row["image"], root=path.parent, where=where)
        label = expand(row["label"], root=path.parent, where=where) if "label" in row else None
        annotated = _classes(where, row["annotated"]) if "annotated" in row else None
        role = _ROLES.get(row.get("role", "train").lower())
        if role is None:
            raise InputError(f"{where}: role {row['role']!r}; expected train or test")
        entries.append(Entry(row.get("id", ""), image, label, annotated, role))
    names = case_names(entry.image for entry in entries if not entry.id)
    kept, twins = without_twins(
        replace(entry, id=entry.id or safe_id(names[entry.image])) for entry in entries
    )
    return Source(kind, table, kept, (*twins, *failures))


def _classes(where: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(word for word in re.split(r"[\s,;|]+", value) if word)
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise InputError(f"{where}: annotated = {value!r}; expected class names, organs, all or none")
