"""Words for people: a number with its noun, a class name as it is read, the closest known word."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def count(number: int, noun: str, *, plural: str = "") -> str:
    """Return a number with its noun: ``1 case``, ``2 cases``.

    Args:
        number: How many.
        noun: In the singular.
        plural: The plural if it is not the noun with an s.
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def class_title(name: str) -> str:
    """Return a class name as it is read: ``left kidney`` for ``left_kidney``."""
    return name.replace("_", " ")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` with the known word that is most like this one.

    Args:
        word: What was given.
        known: What would be right.

    Returns:
        An empty text if no known word is like it.
    """
    close = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
