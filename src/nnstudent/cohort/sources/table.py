"""A list of cases: CSV with a header, or TOML with ``[[case]]`` tables. Paths are relative to the list."""

from __future__ import annotations

import csv
import io
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnstudent.cohort.cohort import Role
from nnstudent.cohort.sources.source import Entry, Source, expand, safe_id, without_twins
from nnstudent.errors import Failure, InputError
from nnstudent.io.finder import case_names
from nnstudent.taxonomy import Taxonomy, flare23, read_taxonomy

KEYS = ("id", "image", "label", "annotated", "role")
_ROLES: dict[str, Role] = {"train": "train", "test": "test"}


def read_csv(path: Path, *, taxonomy: Taxonomy | None = None) -> Source:
    """Read a CSV list: a header with ``image`` and any of ``id``, ``label``, ``annotated``, ``role``.

    Raises:
        InputError: It cannot be read, lacks ``image``, has an unknown column, or names an unset variable.
    """
    try:
        text = path.read_text("utf-8-sig")  # spreadsheets write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the list cannot be read ({error}); expected UTF-8 text") from error
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="")
    names = [str(name).strip().lower() for name in rows.fieldnames or ()]
    if "image" not in names:
        raise InputError(f"{path}: the columns are {', '.join(names) or 'none'}; expected a header with image and any of {', '.join(KEYS)}")
    rows.fieldnames = names
    return _source(path, "a CSV list", taxonomy or flare23(), enumerate(rows, start=2), "line")


def read_toml(path: Path, *, taxonomy: Taxonomy | None = None) -> Source:
    """Read a TOML list: ``[[case]]`` tables, and optionally ``taxonomy`` (a file) and ``[defaults]``.

    Raises:
        InputError: It cannot be read, a key is unknown, or it names an unset variable.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: the list cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no valid TOML ({error})") from error
    unknown = sorted(set(data) - {"taxonomy", "defaults", "case"})
    if unknown:
        raise InputError(f"{path}: unknown key {unknown[0]!r}; known are taxonomy, [defaults] and [[case]]")
    defaults, cases = data.get("defaults", {}), data.get("case", [])
    if not isinstance(defaults, dict) or not isinstance(cases, list) or not all(isinstance(row, dict) for row in cases):
        raise InputError(f"{path}: expected [[case]] tables, and at most one table [defaults]")
    table = taxonomy
    if table is None and "taxonomy" in data:
        if not isinstance(data["taxonomy"], str):
            raise InputError(f"{path}: taxonomy = {data['taxonomy']!r}; expected the name of a TOML file")
        table = read_taxonomy(expand(data["taxonomy"], root=path.parent, where=str(path)))
    rows = ((number, defaults | row) for number, row in enumerate(cases, start=1))
    return _source(path, "a TOML list", table or flare23(), rows, "[[case]]")


def _source(path: Path, kind: str, table: Taxonomy, rows: Iterable[tuple[int, Mapping[str, Any]]], unit: str) -> Source:
    entries: list[Entry] = []
    failures: list[Failure] = []
    for number, raw in rows:
        row = {key: value.strip() if isinstance(value, str) else value for key, value in raw.items()}
        row = {key: value for key, value in row.items() if value is not None and value != ""}
        where = f"{path}, {unit} {number}"
        if not row:
            continue
        unknown = sorted(str(key) or "(too many fields)" for key in row if key not in KEYS)
        if unknown:
            raise InputError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(KEYS)}")
        wrong = [key for key in KEYS if key != "annotated" and not isinstance(row.get(key, ""), str)]
        if wrong:
            raise InputError(f"{where}: {wrong[0]} = {row[wrong[0]]!r}; expected text")
        if "image" not in row:
            failures.append(Failure(str(row.get("id", f"{unit} {number}")), f"{where}: has no image; every case needs one"))
            continue
        image = expand(row["image"], root=path.parent, where=where)
        label = expand(row["label"], root=path.parent, where=where) if "label" in row else None
        annotated = _classes(where, row["annotated"]) if "annotated" in row else None
        role = _ROLES.get(row.get("role", "train").lower())
        if role is None:
            raise InputError(f"{where}: role {row['role']!r}; expected train or test")
        entries.append(Entry(row.get("id", ""), image, label, annotated, role))
    names = case_names(entry.image for entry in entries if not entry.id)
    kept, twins = without_twins(replace(entry, id=entry.id or safe_id(names[entry.image])) for entry in entries)
    return Source(kind, table, kept, (*twins, *failures))


def _classes(where: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(word for word in re.split(r"[\s,;|]+", value) if word)
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise InputError(f"{where}: annotated = {value!r}; expected class names, organs, all or none")
