"""Reads JSON, JSON lines, TOML and CSV that may be malformed or hostile.

Whatever bytes a file holds, it becomes a value or an :class:`~nnstudent.errors.InputError` of one
line that names the file.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from nnstudent.errors import InputError, require_regular_file
from nnstudent.readable import readable

MAX_BYTES = 256_000_000  # A cohort of 150,000 cases has a third of it.
MAX_LINE_BYTES = 4_000_000  # A file of JSON lines is read line by line, and may be any length.
MAX_TOML_BYTES = 16_000_000  # tomllib takes seconds for more.
MAX_DEPTH = 64
MAX_INTEGER = 2**63 - 1
MAX_FIELD = 100_000  # characters of one field of a CSV
TYPE_NAMES: dict[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
}


def read_text(path: Path, *, what: str, most: int = MAX_BYTES) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        what: What it should hold, for the error ("a cohort", "a preset").
        most: Size limit in bytes.

    Raises:
        InputError: The file is missing, not a regular file, too large, or not UTF-8.
    """
    require_regular_file(path, what=what)
    try:
        with path.open("rb") as file:
            # Asked for as much as is allowed, Python would make room for all of it first.
            small = os.fstat(file.fileno()).st_size <= most
            content = file.read() if small else file.read(most + 1)
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
        what: What it should hold, for the error ("a cohort", "a bundle").
        most: Size limit in bytes.

    Raises:
        InputError: See :func:`read_text` and :func:`parse_json`.
    """
    return parse_json(read_text(path, what=what, most=most), where=readable(str(path)), what=what)


def read_json_table(path: Path, *, what: str, most: int = MAX_BYTES) -> dict[str, Any]:
    """Read a JSON file that holds one table.

    Raises:
        InputError: See :func:`read_json`; or the file holds something else.
    """
    data = read_json(path, what=what, most=most)
    if not isinstance(data, dict):
        raise InputError(
            f"{readable(str(path))}: holds {type_name(data)}; expected the table of {what}"
        )
    return data


def read_json_lines(
    path: Path, *, what: str, torn: Callable[[str], None] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a file of JSON tables, one per line; only one line is held at a time.

    Args:
        path: The file.
        what: What it should hold, for the error.
        torn: Called with a sentence if the last line has no end, as when the process that added it
            was killed; that line is left out. Without it such a line is read like the others.

    Yields:
        The name of the line in errors, and its table. Empty lines are skipped.

    Raises:
        InputError: The file cannot be read, a line is longer than 4 MB or not UTF-8, or see
            :func:`read_json_table`; the message names the line.
    """
    require_regular_file(path, what=what)
    name = readable(str(path))
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(
            f"{name}: cannot be read ({error.strerror}); expected the file of {what}"
        ) from error
    with file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            where = f"{name}: line {number}"
            if torn is not None and not raw.endswith(b"\n"):
                torn(f"{where}: is incomplete, because its writer was stopped; it is left out")
                return
            row = _json_line(raw, where=where, what=what, first=number == 1)
            if row is not None:
                yield where, row


def _json_line(raw: bytes, *, where: str, what: str, first: bool) -> dict[str, Any] | None:
    if len(raw) > MAX_LINE_BYTES:
        raise InputError(f"{where}: is longer than {MAX_LINE_BYTES / 1e6:g} MB; expected a table")
    try:
        text = raw.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: is not UTF-8 text (byte {error.start}); save the file as UTF-8"
        ) from error
    if not text.strip():
        return None
    data = parse_json(text, where=where, what=what)
    if not isinstance(data, dict):
        raise InputError(f"{where}: holds {type_name(data)}; expected a table, a row of {what}")
    return data


def parse_json(text: str, *, where: str, what: str) -> Any:
    """Read JSON from text.

    Args:
        text: The text.
        where: Its name in errors.
        what: What it should hold, for the error.

    Raises:
        InputError: It is not JSON, a key occurs twice, a number is NaN, infinite or beyond 64 bits,
            it is nested more than 64 deep, or a character is half of a surrogate pair. Bytes of
            file names that are not UTF-8 are allowed.
    """
    try:
        data = _decoder().decode(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: not valid JSON ({_reason(error)}); expected the file of {what}"
        ) from error
    if not _is_tame(text):
        _check(data, where)
    return data


@cache
def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_once,
        parse_constant=_constant,
        parse_int=_integer,
        parse_float=_real,
    )


def _is_tame(text: str) -> bool:
    """Whether nothing in this JSON can be what :func:`_check` refuses; numbers are checked."""
    brackets = text.count("{") + text.count("[")
    return brackets <= MAX_DEPTH and text.isascii() and "\\u" not in text


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
        where: Its name in errors.
        what: What it should hold, for the error.

    Raises:
        InputError: It is not TOML, a number is NaN, infinite or beyond 64 bits, or it is nested
            more than 64 deep.
    """
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: not valid TOML ({_reason(error)}); expected the file of {what}"
        ) from error
    _check(data, where)
    return data


def parse_csv(
    text: str, *, where: str, delimiter: str = ","
) -> tuple[list[str], Iterator[tuple[str, dict[str, str]]]]:
    """Read CSV with a header.

    Args:
        text: The text.
        where: Its name in errors.
        delimiter: What separates fields.

    Returns:
        The columns, stripped and in lower case, and the rows: the name of each in errors, and its
        fields by column. Fields that a row lacks are left out.

    Raises:
        InputError: A column occurs twice; or, on iteration, a quote is never closed, or a row or
            field is too long.
    """
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip().lower() for name in next(lines, [])]
    except csv.Error as error:
        raise InputError(f"{where}: the header is not CSV ({error})") from error
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
            raise InputError(f"{where}, line {lines.line_num}: not valid CSV ({error})") from error
        if fields is None:
            return
        place = f"{where}, line {lines.line_num}"
        for number, field in enumerate(fields):
            if field.strip() and (number >= len(columns) or not columns[number]):
                raise InputError(
                    f"{place}: field {number + 1} is under no column of the header; "
                    "are there too many fields?"
                )
        if any(len(field) > MAX_FIELD for field in fields):
            raise InputError(
                f"{place}: a field is longer than {MAX_FIELD:,} characters; a quote may be missing"
            )
        yield place, {name: field for name, field in zip(columns, fields, strict=False) if name}


def type_name(value: Any) -> str:
    """Return the type of plain data in words, for an error."""
    if value is None:
        return "nothing"
    return TYPE_NAMES.get(type(value), f"a {type(value).__name__}")


def show(value: Any) -> str:
    """Return a value for an error, cut short because a file may hold megabytes."""
    text = readable(repr(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {show(key)} occurs twice in one table")
            seen.add(key)
    return table


def _constant(name: str) -> Any:
    raise ValueError(f"the number {name}; use null for what is unknown")


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
    """Refuse what JSON and TOML readers accept but later code does not expect.

    A loop instead of recursion, so that no depth exhausts the stack.

    Raises:
        InputError: The data is nested too deeply, or a value is out of range.
    """
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
                raise InputError(f"{where}: holds the number {value}; leave out what is unknown")
            elif isinstance(value, int) and abs(value) > MAX_INTEGER:
                raise InputError(f"{where}: holds a whole number beyond {MAX_INTEGER}")
        level = deeper


def _check_characters(text: str, where: str) -> None:
    if not text.isascii():
        for character in text:
            # Python keeps bytes of a file's name that are not UTF-8 as U+DC80 to U+DCFF.
            if "\ud800" <= character <= "\udc7f" or "\udd00" <= character <= "\udfff":
                raise InputError(
                    f"{where}: holds half of a surrogate pair (U+{ord(character):04X}), "
                    "which is not text; save the file as UTF-8"
                )


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return f"nested more than {MAX_DEPTH} deep"
    text = readable(" ".join(str(error).split()))
    return text if len(text) <= 160 else f"{text[:157]}..."
