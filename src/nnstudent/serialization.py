"""Converts frozen dataclasses to plain data, as JSON and TOML hold it, and back.

What is read is checked against the types of the fields; an error of one line names the value.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from nnstudent.data_files import MAX_INTEGER, TYPE_NAMES, show, type_name
from nnstudent.errors import InputError

_MISSING: Any = object()
# Types of which most values are. A cohort of 150,000 cases has millions of them, and an exact one
# needs no name for an error.
_EXACT = (str, int, float, bool)


class Record:
    """A table that was read from a file, with access to its entries by type.

    Example:
        >>> Record({"id": "a"}, "cohort.json").get("id", str)
        'a'
    """

    def __init__(self, data: Any, where: str) -> None:
        """Wrap a table.

        Args:
            data: Plain data.
            where: Its name in errors.

        Raises:
            InputError: The data is not a table.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"{where}: holds {type_name(data)}; expected a table")
        self.data = data
        self.where = where

    def get(self, key: str, kind: Any, default: Any = _MISSING) -> Any:
        """Return an entry as :func:`from_plain` reads it.

        Raises:
            InputError: The entry is missing without a default, or of another type.
        """
        if key not in self.data:
            if default is _MISSING:
                raise InputError(f"{self.where}: {key} is missing")
            return default
        return from_plain(kind, self.data[key], where=f"{self.where}: {key}")

    def rows(self, key: str, default: Any = _MISSING) -> list[Record]:
        """Return an entry that is a list of tables.

        Raises:
            InputError: The entry is missing without a default, or something else.
        """
        return [
            Record(row, f"{self.where}: {key}[{place}]")
            for place, row in enumerate(self.get(key, list, default))
        ]


def to_plain(value: Any) -> Any:
    """Return a dataclass as dictionaries, lists and numbers, which JSON returns unchanged."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def from_plain(kind: Any, value: Any, *, where: str) -> Any:
    """Read plain data as a type.

    Args:
        kind: A dataclass, tuple, mapping, Literal, union with None, or plain type.
        value: Plain data.
        where: The name of the value in errors.

    Raises:
        InputError: A key is unknown or missing, or a value is of the wrong type.
    """
    if kind is Any or (kind in _EXACT and type(value) is kind):
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    origin, inner = _parts_of(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        return from_plain(next(arm for arm in inner if arm is not type(None)), value, where=where)
    if origin is typing.Literal:
        if not any(value == choice and type(value) is type(choice) for choice in inner):
            raise InputError(
                f"{where} = {show(value)}; expected one of {', '.join(map(str, inner))}"
            )
        return value
    if origin is tuple:
        return _tuple(inner, value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise InputError(f"{where} = {show(value)}; expected a table")
        if _all_exact(inner[0], value) and _all_exact(inner[1], value.values()):
            return dict(value)
        return {
            from_plain(inner[0], key, where=where): from_plain(
                inner[1], item, where=f"{where}.{key}"
            )
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
        raise InputError(f"{where} = {show(value)}; expected {TYPE_NAMES.get(kind, kind.__name__)}")
    return value


def _all_exact(kind: Any, values: Iterable[Any]) -> bool:
    return kind in _EXACT and all(type(value) is kind for value in values)


@cache
def _parts_of(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    return typing.get_origin(kind), typing.get_args(kind)


class _Fields(typing.NamedTuple):
    """What is known of the fields of a dataclass, by name."""

    hints: dict[str, Any]
    required: tuple[str, ...]
    exact: dict[str, tuple[type, ...]]  # types of values that need no further check


@cache
def _fields_of(kind: Any) -> _Fields:
    hints, missing = typing.get_type_hints(kind), dataclasses.MISSING
    fields = dataclasses.fields(kind)
    return _Fields(
        {field.name: hints[field.name] for field in fields},
        tuple(
            field.name
            for field in fields
            if field.default is missing and field.default_factory is missing
        ),
        {field.name: _exact_types(hints[field.name]) for field in fields},
    )


def _exact_types(kind: Any) -> tuple[type, ...]:
    origin, inner = _parts_of(kind)
    if origin in (types.UnionType, typing.Union) and len(inner) == 2 and type(None) in inner:
        other = next(arm for arm in inner if arm is not type(None))
        return (type(None), *_exact_types(other))
    return (kind,) if kind in _EXACT else ()


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise InputError(f"{where} = {show(value)}; expected a table")
    fields = _fields_of(kind)
    for key in value:
        if key not in fields.hints:
            known = ", ".join(fields.hints)
            raise InputError(f"{where}: unknown key {show(key)}; known are {known}")
    for name in fields.required:
        if name not in value:
            known = ", ".join(fields.hints)
            raise InputError(f"{where}: {name} is missing; known are {known}")
    read = {
        key: item
        if type(item) in fields.exact[key]
        else from_plain(fields.hints[key], item, where=f"{where}.{key}")
        for key, item in value.items()
    }
    try:
        return kind(**read)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{where} = {show(value)}; expected a list")
    if len(inner) == 2 and inner[1] is Ellipsis:
        if _all_exact(inner[0], value):
            return tuple(value)
        return tuple(
            from_plain(inner[0], item, where=f"{where}[{i}]") for i, item in enumerate(value)
        )
    if len(value) != len(inner):
        raise InputError(f"{where} = {show(list(value))}; expected {len(inner)} values (z, y, x)")
    return tuple(
        from_plain(kind, item, where=f"{where}[{i}]")
        for i, (kind, item) in enumerate(zip(inner, value, strict=True))
    )
