"""Values of elements in DICOM JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_uid(text: str) -> bool:
    """Return whether a text is a UID."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def value(row: Mapping[str, Any], tag: str) -> Any:
    """Return the first value of an element in DICOM JSON, or None."""
    return next(iter(values(row, tag)), None)


def values(row: Mapping[str, Any], tag: str) -> list[Any]:
    """Return the values of an element in DICOM JSON."""
    element = row.get(tag)
    found = element.get("Value") if isinstance(element, dict) else None
    return found if isinstance(found, list) else []


def number(value: Any) -> int | None:
    """Return a value as an integer; None if it is not one."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
