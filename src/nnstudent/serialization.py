"""Reading text that nobody vouches for (JSON, JSON lines, TOML, CSV), and frozen dataclasses from and to such plain data.

Whatever bytes a file holds, it becomes a value or an :class:`~nnstudent.errors.InputError` of one line that names the file.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnstudent.errors import InputError, require_regular_file
from nnstudent.readable import readable

MAX_BYTES = 256_000_000  # a ledger of 100,000 cases has a tenth of it
MAX_TOML_BYTES = 16_000_000  # tomllib takes seconds for more
MAX_DEPTH = 64
MAX_INTEGER = 2**63 - 1
MAX_FIELD = 100_000  # characters of one field of a CSV
_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
}
_MISSING: Any = object()


def read_text(path: Path, *, what: str, most: int = MAX_BYTES) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        what: What it should be, for the error ("a cohort", "a preset").
        most: Bytes that it may have.

    Raises:
        InputError: It is missing, no regular file, too large, or not UTF-8.
    """
    require_regular_file(path, what=what)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise InputError(
            f"{readable(str(path))}: cannot be read ({error.strerror}); expected the file of {what}"
        ) from error
    if len(content) > most:
        raise InputError(
            f"{readable(str(path))}: is larger than {most / 1e6:g} MB; expected the file of {what}"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{readable(str(path))}: is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error


def read_json(path: Path, *, what: str, most: int = MAX_BYTES) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        what: What it should be, for the error ("a cohort", "a bundle").
        most: Bytes that it may have.

    Raises:
        InputError: See :func:`read_text` and :func:`parse_json`.
    """
    return parse_json(read_text(path, what=what, most=most), where=readable(str(path)), what=what)


def read_json_table(path: Path, *, what: str, most: int = MAX_BYTES) -> dict[str, Any]:
    """Read a JSON file that holds one table.

    Raises:
        InputError: See :func:`read_json`; or it holds something else.
    """
    data = read_json(path, what=what, most=most)
    if not isinstance(data, dict):
        raise InputError(
            f"{readable(str(path))}: holds {_kind(data)}; expected the table of {what}"
        )
    return data


def read_json_lines(path: Path, *, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a file of JSON tables, one a line.

    Yields:
        How errors call the line, and its table; empty lines are left out.

    Raises:
        InputError: See :func:`read_json_table`; names the line.
    """
    for number, line in enumerate(read_text(path, what=what).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{readable(str(path))}: line {number}"
        data = parse_json(line, where=where, what=what)
        if not isinstance(data, dict):
            raise InputError(f"{where}: holds {_kind(data)}; expected a table, a row of {what}")
        yield where, data


def parse_json(text: str, *, where: str, what: str) -> Any:
    """Read JSON from text.

    Args:
        text: The text.
        where: How errors call it.
        what: What it should be, for the error.

    Raises:
        InputError: It is no JSON, a key occurs twice, a number is NaN or infinite or out of the range of 64 bits, it is nested more
            than 64 deep, or a character is half of a surrogate pair. Bytes of file names that are no UTF-8 are let through.
    """
    try:
        data = json.loads(
            text,
            object_pairs_hook=_once,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_real,
        )
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: no valid JSON ({_reason(error)}); expected the file of {what}"
        ) from error
    _check(data, where)
    return data


def read_toml(path: Path, *, what: str) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: See :func:`read_text` and :func:`parse_toml`.
    """
    return parse_toml(
        read_text(path, what=what, most=MAX_TOML_BYTES), where=readable(str(path)), what=what
    )


def parse_toml(text: str, *, where: str, what: str) -> dict[str, Any]:
    """Read TOML from text.

    Args:
        text: The text.
        where: How errors call it.
        what: What it should be, for the error.

    Raises:
        InputError: It is no TOML, a number is NaN or infinite or out of the range of 64 bits, or it is nested more than 64 deep.
    """
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: no valid TOML ({_reason(error)}); expected the file of {what}"
        ) from error
    _check(data, where)
    return data


def parse_csv(
    text: str, *, where: str, delimiter: str = ","
) -> tuple[list[str], Iterator[tuple[str, dict[str, str]]]]:
    """Read CSV with a header.

    Args:
        text: The text.
        where: How errors call it.
        delimiter: What separates fields.

    Returns:
        The columns, stripped and in lower case, and the rows: how errors call each, and its fields by column. Fields that a row
        lacks are left out.

    Raises:
        InputError: A column occurs twice; and on iteration, a quote is never closed, or a row or field is too long.
    """
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip().lower() for name in next(lines, [])]
    except csv.Error as error:
        raise InputError(f"{where}: the header is no CSV ({error})") from error
    for name in filter(None, columns):
        if columns.count(name) > 1:
            raise InputError(
                f"{where}: column {name!r} occurs twice; give each column a name of its own"
            )
    return columns, _rows(lines, columns, where)


def _rows(lines: Any, columns: Sequence[str], where: str) -> Iterator[tuple[str, dict[str, str]]]:
    while True:
        try:
            fields = next(lines, None)
        except csv.Error as error:
            raise InputError(f"{where}, line {lines.line_num}: no valid CSV ({error})") from error
        if fields is None:
            return
        place = f"{where}, line {lines.line_num}"
        for number, field in enumerate(fields):
            if field.strip() and (number >= len(columns) or not columns[number]):
                raise InputError(
                    f"{place}: field {number + 1} is under no column of the header; are there too many fields?"
                )
        if any(len(field) > MAX_FIELD for field in fields):
            raise InputError(
                f"{place}: a field is longer than {MAX_FIELD:,} characters; a quote may be missing"
            )
        yield place, {name: field for name, field in zip(columns, fields, strict=False) if name}


class Record:
    """A table that was read from a file, whose entries are asked for by type.

    Example:
        >>> Record({"id": "a"}, "cohort.json").get("id", str)
        'a'
    """

    def __init__(self, data: Any, where: str) -> None:
        """Take a table.

        Args:
            data: Plain data.
            where: How errors call it.

        Raises:
            InputError: It is no table.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"{where}: holds {_kind(data)}; expected a table")
        self.data = data
        self.where = where

    def get(self, key: str, kind: Any, default: Any = _MISSING) -> Any:
        """An entry as :func:`from_plain` reads it.

        Raises:
            InputError: It is missing and there is no default, or it is of another type.
        """
        if key not in self.data:
            if default is _MISSING:
                raise InputError(f"{self.where}: {key} is missing")
            return default
        return from_plain(kind, self.data[key], f"{self.where}: {key}")

    def rows(self, key: str, default: Any = _MISSING) -> list[Record]:
        """An entry that is a list of tables.

        Raises:
            InputError: It is missing and there is no default, or it is something else.
        """
        return [
            Record(row, f"{self.where}: {key}[{place}]")
            for place, row in enumerate(self.get(key, list, default))
        ]


def to_plain(value: Any) -> Any:
    """A dataclass as dictionaries, lists and numbers, the shape that JSON gives back unchanged."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: Any, value: Any, where: str) -> Any:
    """Read ``value`` as ``kind``: a dataclass, tuple, table of one type, Literal, union with None, or plain type.

    Args:
        kind: The type wanted.
        value: Plain data.
        where: Name of the value, for the errors.

    Raises:
        InputError: A key is unknown or missing, or a value is of the wrong type.
    """
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        return from_plain(next(arm for arm in inner if arm is not type(None)), value, where)
    if origin is typing.Literal:
        if not any(value == choice and type(value) is type(choice) for choice in inner):
            raise InputError(
                f"{where} = {_shown(value)}; expected one of {', '.join(map(str, inner))}"
            )
        return value
    if origin is tuple:
        return _tuple(inner, value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise InputError(f"{where} = {_shown(value)}; expected a table")
        return {
            from_plain(inner[0], key, where): from_plain(inner[1], item, f"{where}.{key}")
            for key, item in value.items()
        }
    if (
        kind is float
        and isinstance(value, int)
        and not isinstance(value, bool)
        and abs(value) <= MAX_INTEGER
    ):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{where} = {_shown(value)}; expected {_NAMES.get(kind, kind.__name__)}")
    return value


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise InputError(f"{where} = {_shown(value)}; expected a table")
    hints, fields = (
        typing.get_type_hints(kind),
        {field.name: field for field in dataclasses.fields(kind)},
    )
    for key in value:
        if key not in fields:
            raise InputError(f"{where}: unknown key {_shown(key)}; known are {', '.join(fields)}")
    for name, field in fields.items():
        optional = (
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        )
        if name not in value and not optional:
            raise InputError(f"{where}: {name} is missing; known are {', '.join(fields)}")
    read = {key: from_plain(hints[key], item, f"{where}.{key}") for key, item in value.items()}
    try:
        return kind(**read)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{where} = {_shown(value)}; expected a list")
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(from_plain(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(inner):
        raise InputError(f"{where} = {_shown(list(value))}; expected {len(inner)} values (z, y, x)")
    return tuple(
        from_plain(kind, item, f"{where}[{i}]")
        for i, (kind, item) in enumerate(zip(inner, value, strict=True))
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {_shown(key)} occurs twice in one table")
            seen.add(key)
    return table


def _constant(name: str) -> Any:
    raise ValueError(f"the number {name}; use null for what is not known")


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"a whole number of {len(text)} digits; the largest is {MAX_INTEGER}")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _check(data: Any, where: str) -> None:
    """Refuse what JSON and TOML readers let through but what follows does not expect; works in a loop, whatever the depth."""
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise InputError(f"{where}: is nested more than {MAX_DEPTH} deep")
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                deeper.extend(value)
                deeper.extend(value.values())
            elif isinstance(value, list):
                deeper.extend(value)
            elif isinstance(value, str):
                _check_characters(value, where)
            elif isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"{where}: holds the number {value}; leave out what is not known")
            elif isinstance(value, int) and abs(value) > MAX_INTEGER:
                raise InputError(f"{where}: holds a whole number beyond {MAX_INTEGER}")
        level = deeper


def _check_characters(text: str, where: str) -> None:
    if not text.isascii():
        for character in text:
            # U+DC80 to U+DCFF are how Python keeps the bytes of a file's name that are no UTF-8
            if "\ud800" <= character <= "\udc7f" or "\udd00" <= character <= "\udfff":
                raise InputError(
                    f"{where}: holds half of a surrogate pair (U+{ord(character):04X}); it is no text"
                )


def _kind(value: Any) -> str:
    return "nothing" if value is None else _NAMES.get(type(value), f"a {type(value).__name__}")


def _shown(value: Any) -> str:
    """A value for an error, cut short: a file may hold megabytes."""
    text = readable(repr(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return f"nested more than {MAX_DEPTH} deep"
    text = readable(" ".join(str(error).split()))
    return text if len(text) <= 160 else f"{text[:157]}..."
