"""Errors in one line each: what was given, what was expected, what to do."""

from __future__ import annotations

import importlib
import stat
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from nnstudent.readable import readable

_LONGEST = 600  # characters of a library's message, which may quote a whole file
_QUOTED = 200  # characters of a library's message within one of our own
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NnStudentError(Exception):
    """An error that a user can act on; its text is one line, whatever it quotes.

    Attributes:
        exit_code: The command's exit code if this error ends it.
    """

    exit_code = 2

    def __str__(self) -> str:
        """Return the text as one line that can be shown and written anywhere."""
        return _folded(super().__str__())


class InputError(NnStudentError):
    """A given file, folder or argument cannot be used."""


class GeometryError(InputError):
    """Two volumes do not share a grid although they must, or a grid cannot be used."""


class OutputError(NnStudentError):
    """A result cannot be written to the requested place."""


class OutputNameError(OutputError):
    """One result cannot be written under its name, but others can."""


class MissingExtraError(NnStudentError):
    """A required optional dependency is not installed."""


@dataclass(frozen=True)
class Failure:
    """A case that failed while the others were processed.

    Attributes:
        case: The case's id.
        reason: One line: what was given, what was expected, what to do.
    """

    case: str
    reason: str

    def __post_init__(self) -> None:
        """Make the reason one line: it may come from a file that somebody changed."""
        object.__setattr__(self, "reason", _folded(self.reason))


def one_line(error: BaseException) -> str:
    """Return an error as one line that can be shown and written anywhere.

    Args:
        error: Any exception. Its type is named only if users cannot act on it.
    """
    text = _folded(str(error))
    if isinstance(error, NnStudentError):
        return text or type(error).__name__
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} …"
    if isinstance(error, MemoryError):
        return f"not enough memory ({text})" if text else "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return (
            f"{readable(str(error.filename))}: {error.strerror}"
            if error.filename is not None
            else error.strerror
        )
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def quoted(error: BaseException) -> str:
    """Return a library's message as words for brackets; the error's type if it has no message."""
    text = _folded(str(error))
    return f"{text[:_QUOTED]} …" if len(text) > _QUOTED else text or type(error).__name__


def _folded(text: str) -> str:
    return readable(" ".join(text.split()))


def require_regular_file(path: Path, *, what: str) -> None:
    """Refuse anything but a regular file before it is opened, because opening a pipe may never end.

    Args:
        path: The file; links are followed.
        what: What it should hold, for the error ("an image", "a label table").

    Raises:
        InputError: The path is missing, a folder, a pipe, a socket or a device, or inaccessible.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{readable(str(path))}: cannot be read ({reason}); expected the file of {what}"
        ) from error
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "not a regular file")
        hint = "" if stat.S_ISDIR(mode) else "; save the data as a file first"
        raise InputError(f"{readable(str(path))}: is {kind}; expected the file of {what}{hint}")


def require(module: str, *, extra: str, why: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Args:
        module: Dotted name of the module to import.
        extra: The extra of this package that installs it.
        why: What needs it, as the subject of a sentence ("training", "the torch engine").

    Raises:
        MissingExtraError: The module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{why} needs {module.split('.')[0]}, which cannot be imported ({error}); "
            f"install it with: pip install 'nnstudent[{extra}]'"
        ) from error
