"""Figures as they are written in the report."""

from __future__ import annotations

from nnstudent.taxonomy import LabelClass

NONE = "–"


def percent(value: float | None, *, digits: int = 1) -> str:
    """Return a score from 0 to 1 as percent, or a dash if there is none."""
    return NONE if value is None else f"{100 * value:.{digits}f}"


def signed(value: float | None, *, digits: int = 1) -> str:
    """Return a difference of two scores in percentage points, with its sign, or a dash."""
    if value is None:
        return NONE
    text = f"{100 * value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"


def duration(seconds: float | None) -> str:
    """Return seconds as a person writes them: ``1.2 s``, ``1 min 15 s``, ``2 h 01 min``."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def memory(mb: float | None) -> str:
    """Return memory, given in MiB, in MB of 10⁶ or GB of 10⁹ bytes, or a dash if there is none."""
    if not mb:
        return NONE
    size = mb * 2**20
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def css_color(item: LabelClass) -> str:
    """Return the class's color for CSS."""
    return "#{:02x}{:02x}{:02x}".format(*item.color)


def difference(one: float | None, other: float | None) -> float | None:
    """Return ``one`` minus ``other``, or None if one of them is not known."""
    return None if one is None or other is None else one - other
