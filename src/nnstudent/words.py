"""Words for people: a number with its noun, a class name as it is read, the closest known word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def count(number: int, noun: str, *, plural: str = "") -> str:
    """Return a number with its noun: ``1 case``, ``2 cases``.

    Args:
        number: How many.
        noun: In the singular.
        plural: The plural if it is not the noun with an s.
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def duration(seconds: float) -> str:
    """Return a time as it is said: ``40 s``, ``12 min``, ``3 h 20 min``, ``2 days 4 h``."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(round(minutes / 10) * 10, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def class_title(name: str) -> str:
    """Return a class name as it is read: ``left kidney`` for ``left_kidney``."""
    return name.replace("_", " ")


def did_you_mean(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str:
    """Return ``; did you mean X?`` with the known word that is most like this one.

    Args:
        word: What was given.
        known: What would be right.
        likeness: How like the known word must be, 0 to 1.

    Returns:
        An empty text if no known word is like it.
    """
    close = get_close_matches(word.lower(), list(known), n=1, cutoff=likeness)
    return f"; did you mean {close[0]}?" if close else ""


def match_class(word: str, known: Iterable[str]) -> str | None:
    """Return the known class that a person means: ``left_kidney`` for ``Left kidney``.

    Case, spaces, hyphens and the order of the words do not matter.

    Args:
        word: The name as it was written.
        known: The class names.

    Returns:
        The class; None if no class has exactly these words.
    """
    names = list(known)
    if word in names:
        return word
    parts = _parts(word)
    in_order = [name for name in names if _parts(name) == parts]
    in_any_order = [name for name in names if sorted(_parts(name)) == sorted(parts)]
    found = in_order if len(in_order) == 1 else in_any_order
    return found[0] if len(found) == 1 else None


def suggest_classes(word: str, known: Sequence[str]) -> str:
    """Return ``; did you mean X or Y?`` with the classes that a word may stand for.

    Args:
        word: A name that :func:`match_class` does not know, such as ``kidney`` or ``lever``.
        known: The class names.

    Returns:
        An empty text if no class is like it.
    """
    parts = {part.removesuffix("s") for part in _parts(word)}
    holding = [
        name for name in known if parts and parts <= {p.removesuffix("s") for p in _parts(name)}
    ]
    if holding:
        return f"; did you mean {' or '.join(holding)}?"
    # A heart is no slip for an aorta.
    return did_you_mean("_".join(_parts(word)), known, likeness=0.7)


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[\W_]+", name.casefold()) if part]
