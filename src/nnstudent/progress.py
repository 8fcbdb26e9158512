"""How long work tells how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work advances; the command draws a bar or prints plain lines."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` steps of ``what`` are finished."""


def silent(what: str, done: int, total: int) -> None:
    """A listener that does nothing, the default of every library call."""
