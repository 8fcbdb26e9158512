"""What can go wrong, said in one line: what was given, what was expected, what to do."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType


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
