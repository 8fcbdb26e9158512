"""Errors of a PACS."""

from __future__ import annotations

from nnstudent.errors import NnStudentError


class PacsError(NnStudentError):
    """A PACS did not do what it was asked to."""


class UnreachableError(PacsError):
    """A PACS did not do what it was asked to, but may if it is asked again."""
