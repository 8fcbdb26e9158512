"""One malformed input, what the command made of it, and whether that is a fault."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nnstudent.readable import readable

OK, REFUSED = "ok", "refused"
INTERNAL, HANG, CRASH = "internal error", "hang", "crash"
UNNAMED, LOSS, HALF, EXECUTED = "input not named", "silent loss", "half-written", "code executed"
FAULTS = (INTERNAL, HANG, CRASH, UNNAMED, LOSS, HALF, EXECUTED)
_INTERNAL = re.compile(
    r"run it again with --debug|Traceback \(most recent call last\)|Exception ignored"
)
_TEMPORARY = (".nnstudent-", ".nnstudent.lock")


@dataclass(frozen=True)
class Result:
    """What a call of the command left behind."""

    code: int | None  # None: an exception came out of it
    out: str
    err: str


@dataclass(frozen=True)
class Attack:
    """A malformed input and the call that takes it.

    Attributes:
        argv: The command's words, without the program.
        folder: Where everything of it lies; nothing but ``out`` may be added to it.
        out: The output asked for; None where the verb only prints.
        names: Words of which an error must have one, as it is shown; none: not checked.
        canary: A file that appears if code in the input is executed.
        lost: Says what was lost without a word, if the call ended well; None: nothing was.
        environment: Variables to set for the call.
    """

    argv: list[str]
    folder: Path
    out: Path | None = None
    names: tuple[str, ...] = ()
    canary: Path | None = None
    lost: Callable[[Result], str | None] = lambda result: None
    environment: dict[str, str] = field(default_factory=dict)


def judge(attack: Attack, result: Result, *, before: set[str]) -> tuple[str, str]:
    """What became of it: ``ok``, ``refused``, or the name of a fault; and a line about it.

    Args:
        attack: What was tried.
        result: What happened.
        before: Names in the folder before the call, as :func:`listing` gives them.
    """
    last = result.err.strip().splitlines()[-1] if result.err.strip() else ""
    if attack.canary is not None and attack.canary.exists():
        return EXECUTED, last
    if result.code is None or _INTERNAL.search(result.out + result.err):
        found = [line for line in (result.out + result.err).splitlines() if _INTERNAL.search(line)]
        return INTERNAL, found[0] if found else last
    if result.code not in (0, 1, 2):
        return CRASH, f"exit code {result.code}: {last}"
    half = _half_written(attack, result, before)
    if half:
        return HALF, f"exit code {result.code}: {half}: {last}"
    if result.code == 0:
        lost = attack.lost(result)
        return (LOSS, lost) if lost else (OK, "")
    if not result.err.strip():
        return UNNAMED, "no word on standard error"
    told = [line for line in result.err.splitlines() if line.startswith("nnstudent ")]
    if result.code == 2 and not last.startswith("nnstudent "):
        return UNNAMED, f"the last line is not the command's own: {last}"
    if attack.names and not any(readable(name) in line for name in attack.names for line in told):
        return UNNAMED, f"none of {attack.names} in: {last}"
    return REFUSED, last


def listing(folder: Path) -> set[str]:
    """Every name below a folder, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def leftovers(folder: Path) -> str:
    """The name of something temporary below a folder; empty if there is nothing."""
    left = [name for name in sorted(listing(folder)) if Path(name).name.startswith(_TEMPORARY)]
    return left[0] if left else ""


def _half_written(attack: Attack, result: Result, before: set[str]) -> str:
    """What is not as it should be below the folder of the attack; empty if nothing is."""
    new = sorted(listing(attack.folder) - before)
    left = [name for name in new if Path(name).name.startswith(_TEMPORARY)]
    if left:
        return f"left behind: {left[0]}"
    reports = _reports(attack.argv)  # they tell of failures too
    new = [
        name
        for name in new
        if not any(path.is_relative_to(attack.folder / name) for path in reports)
    ]
    outside = [name for name in new if not _is_output(attack.folder / name, attack.out)]
    if outside:
        return f"made beside the output: {outside[0]}"
    if result.code == 2 and any((attack.folder / name).is_file() for name in new):
        return f"refused, and yet made: {new[0]}"
    for name in new:
        reason = unreadable(attack.folder / name)
        if reason:
            return f"{name}: {reason}"
    return ""


def _reports(argv: list[str]) -> list[Path]:
    """The reports that are asked for."""
    found = []
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        option, joined, value = word.partition("=")
        if option in ("--report", "--csv", "--json", "--plot"):
            found.append(Path(value if joined else following))
    return found


def _is_output(path: Path, out: Path | None) -> bool:
    if out is None:
        return False
    stem = out.name.partition(".")[0]
    return (
        path == out
        or out in path.parents
        or (path.parent == out.parent and path.name.startswith(stem))
        or path in out.parents
    )


def unreadable(path: Path) -> str:
    """Why a file that was written cannot be read; empty if it can."""
    if not path.is_file():
        return ""
    try:
        if path.name.endswith(".gz"):
            with gzip.open(path) as stream:
                while stream.read(1 << 20):
                    pass
        elif path.suffix == ".json":
            json.loads(path.read_text("utf-8"))
        elif path.suffix == ".jsonl":
            [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        return f"cannot be read: {error}"
    ours = (".gz", ".json", ".jsonl", ".dcm", ".nrrd", ".html", ".csv")
    return "empty" if path.suffix in ours and not path.stat().st_size else ""
