"""Converts frozen dataclasses to plain data, as JSON and TOML hold it, and back.

What is read is checked against the types of the fields; an error of one line names the value.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from nnstudent.data_files import MAX_INTEGER, TYPE_NAMES, show, type_name
from nnstudent.errors import InputError

_MISSING: Any = object()


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
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
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


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise InputError(f"{where} = {show(value)}; expected a table")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in value:
        if key not in fields:
            raise InputError(f"{where}: unknown key {show(key)}; known are {', '.join(fields)}")
    for name, field in fields.items():
        optional = (
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        )
        if name not in value and not optional:
            raise InputError(f"{where}: {name} is missing; known are {', '.join(fields)}")
    read = {
        key: from_plain(hints[key], item, where=f"{where}.{key}") for key, item in value.items()
    }
    try:
        return kind(**read)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{where} = {show(value)}; expected a list")
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(
            from_plain(inner[0], item, where=f"{where}[{i}]") for i, item in enumerate(value)
        )
    if len(value) != len(inner):
        raise InputError(f"{where} = {show(list(value))}; expected {len(inner)} values (z, y, x)")
    return tuple(
        from_plain(kind, item, where=f"{where}[{i}]")
        for i, (kind, item) in enumerate(zip(inner, value, strict=True))
    )
