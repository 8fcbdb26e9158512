"""How long work reports how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work advances; the command draws a bar or prints plain lines."""

    def __call__(self, what: str, done: int, total: int, *, note: str = "") -> None:
        """Note that ``done`` of ``total`` steps of ``what`` are finished.

        ``note`` says how it goes, such as the loss of a training.
        """


def silent(what: str, done: int, total: int, *, note: str = "") -> None:
    """Do nothing; the default of every library call."""
