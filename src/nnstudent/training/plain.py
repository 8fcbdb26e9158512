"""Frozen dataclasses from plain data (TOML, JSON) and back; every unknown key and wrong type is refused by name."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from nnstudent.errors import InputError


def to_plain(value: Any) -> Any:
    """A dataclass as dictionaries, lists and numbers, the shape that JSON gives back unchanged."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: Any, value: Any, where: str) -> Any:
    """Read ``value`` as ``kind``: a dataclass, tuple, Literal, union with None, or plain type.

    Args:
        kind: The type wanted.
        value: Plain data.
        where: Name of the value, for the errors.

    Raises:
        InputError: A key is unknown or missing, or a value is of the wrong type.
    """
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        return from_plain(next(arm for arm in inner if arm is not type(None)), value, where)
    if origin is typing.Literal:
        if value not in inner:
            raise InputError(f"{where} = {value!r}; expected one of {', '.join(map(str, inner))}")
        return value
    if origin is tuple:
        return _tuple(inner, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{where} = {value!r}; expected {kind.__name__}")
    return value


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise InputError(f"{where} = {value!r}; expected a table")
    hints, fields = typing.get_type_hints(kind), {field.name: field for field in dataclasses.fields(kind)}
    for key in value:
        if key not in fields:
            raise InputError(f"{where}: unknown key {key!r}; known are {', '.join(fields)}")
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in value and not optional:
            raise InputError(f"{where}: {name} is missing; known are {', '.join(fields)}")
    read = {key: from_plain(hints[key], item, f"{where}.{key}") for key, item in value.items()}
    try:
        return kind(**read)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{where} = {value!r}; expected a list")
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(from_plain(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(inner):
        raise InputError(f"{where} = {list(value)!r}; expected {len(inner)} values (z, y, x)")
    return tuple(from_plain(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(inner, value, strict=True)))
