"""What can go wrong, said in one line: what was given, what was expected, what to do."""

from __future__ import annotations

import importlib
import stat
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from nnstudent.readable import readable

_LONGEST = 600  # characters of a message that is not ours, which may quote a file's whole content
_QUOTED = 200  # characters of it within a line of ours
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NnStudentError(Exception):
    """Any error that a user can act on; its text is one line.

    Attributes:
        exit_code: What the command exits with when this error ends it.
    """

    exit_code = 2


class InputError(NnStudentError):
    """A file, folder or argument that was given is not what is needed."""


class GeometryError(InputError):
    """Two volumes that must share a grid do not, or a grid is not usable."""


class OutputError(NnStudentError):
    """A result cannot be written where it was asked for."""


class OutputNameError(OutputError):
    """This one result cannot be written under its name; others can."""


class MissingExtraError(NnStudentError):
    """An optional dependency is needed that is not installed."""


@dataclass(frozen=True)
class Failure:
    """One case that could not be processed while the others were.

    Attributes:
        case: The case's id.
        reason: One line: what was given, what was expected, what to do.
    """

    case: str
    reason: str


def one_line(error: BaseException) -> str:
    """What went wrong, as one line that can be shown and written anywhere.

    Args:
        error: Any exception. Only of those that users cannot act on the type is named.
    """
    text = readable(" ".join(str(error).split()))
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
    """What a library says of an error, as words for brackets in a line of our own; the error's type where it says nothing."""
    text = readable(" ".join(str(error).split()))
    return f"{text[:_QUOTED]} …" if len(text) > _QUOTED else text or type(error).__name__


def require_regular_file(path: Path, *, what: str) -> None:
    """Refuse what is no regular file before it is opened: opening a pipe that nobody writes to never ends.

    Args:
        path: The file; links are followed.
        what: What it should hold, for the error ("an image", "a label table").

    Raises:
        InputError: It is missing, a folder, a pipe, a socket or a device, or cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{readable(str(path))}: cannot be read ({reason}); expected the file of {what}"
        ) from error
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no regular file")
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
            f"{why} needs {module.split('.')[0]}, which is not usable here ({error}); install it with: pip install 'nnstudent[{extra}]'"
        ) from error
