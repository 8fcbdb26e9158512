"""What goes wrong with a PACS."""

from __future__ import annotations

from nnstudent.errors import NnStudentError


class PacsError(NnStudentError):
    """A PACS does not do what is asked of it."""


class UnreachableError(PacsError):
    """As :class:`PacsError`, for what may be gone when it is tried again."""
