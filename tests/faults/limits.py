"""Many calls at once, full disks, few open files, little memory, no network."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from tests.faults.calls import start
from tests.faults.kills import SECONDS, calls, compare
from tests.faults.outcome import (
    FAULTS,
    HALF,
    HANG,
    LOSS,
    OK,
    REFUSED,
    Result,
    judge,
    leftovers,
    listing,
)

Row = tuple[str, str, str]
_VERBS = ("index", "label", "select", "export", "segment", "evaluate", "report")


def limit_all(sound: Path, scratch: Path, *, seed: int, count: int) -> Iterator[Row]:
    """So many calls under each of the limits, and what became of each: kind, outcome, a line."""
    yield from _at_once(sound, scratch / "locks", starts=max(4, count // 4))
    for kind, limit in (
        ("not enough disk space", _file_size),
        ("few open files", _open_files),
        ("little memory", _memory),
    ):
        yield from _limited(kind, limit, sound, scratch / "limits", seed=seed, count=count)
    yield from _full_device(sound, scratch / "full")
    yield from _offline(sound, scratch / "offline")


def _at_once(sound: Path, scratch: Path, *, starts: int) -> Iterator[Row]:
    """Many calls for one folder at the same moment: one writes, the others are refused, and the
    result is whole."""
    for verb in ("index", "label", "select", "export", "segment"):
        folder = _empty(scratch / verb)
        attack = calls(sound, folder)[verb][0]
        first = start(attack, folder / "told").result(seconds=SECONDS)
        reference = (
            _empty(scratch) / "reference" if first is None else scratch / f"{verb}-reference"
        )
        shutil.rmtree(reference, ignore_errors=True)
        (folder / "out").rename(reference)
        ready, go = os.pipe()

        def hold(ready: int = ready, go: int = go) -> None:
            os.close(go)
            os.read(ready, 1)

        running = [start(attack, scratch / f"told-{k}", before=hold) for k in range(starts)]
        os.close(go)  # all begin
        ended = [call.result(seconds=SECONDS) for call in running]
        os.close(ready)
        (folder / "told").unlink(missing_ok=True)
        for result in ended:
            yield f"at once: {verb}", *_plain(result, ("another call writes",))
        problem = compare(reference, folder / "out")
        left = leftovers(folder)
        yield (
            f"at once: {verb}, the result",
            *((HALF, f"left behind: {left}") if left else problem or (OK, "")),
        )


def _plain(result: Result | None, words: tuple[str, ...]) -> tuple[str, str]:
    if result is None:
        return HANG, "no end"
    last = (result.err.strip().splitlines() or [""])[-1]
    if result.code == 0:
        return OK, ""
    return (
        (REFUSED, last)
        if result.code == 2 and any(word in last for word in words)
        else (LOSS, f"exit code {result.code}: {last}")
    )


def _limited(
    kind: str, limit: Callable[[Random], None], sound: Path, scratch: Path, *, seed: int, count: int
) -> Iterator[Row]:
    """Calls under a limit of the system's, chosen at random."""
    for number in range(count):
        verb = _VERBS[number % len(_VERBS)]
        chance = Random(f"{seed} {kind} {number}")
        folder = _empty(scratch)
        attack = calls(sound, folder)[verb][0]
        before = listing(folder)
        told = scratch.with_name("limits-told")
        result = start(attack, told, before=lambda chance=chance: limit(chance)).result(
            seconds=SECONDS
        )  # type: ignore[misc]
        if result is None:
            yield kind, HANG, f"{verb} {number}: no end"
            continue
        outcome, detail = judge(attack, result, before=before)
        if outcome == HALF and result.code == 2 and "refused, and yet made" in detail:
            outcome = REFUSED  # what was whole before the room ran out is kept
        yield kind, outcome, f"{verb} {number}: {detail}" if outcome in FAULTS else ""


def _file_size(chance: Random) -> None:
    signal.signal(
        signal.SIGXFSZ, signal.SIG_IGN
    )  # writing then fails with an error, as on a full disk
    resource.setrlimit(
        resource.RLIMIT_FSIZE,
        (chance.choice((0, 1, 100, 500, 2000, 5000, 20_000)), resource.RLIM_INFINITY),
    )


def _open_files(chance: Random) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (chance.randint(5, 24),) * 2)


def _memory(chance: Random) -> None:
    with open("/proc/self/statm") as stream:
        taken = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(
        resource.RLIMIT_AS, (taken + chance.randint(1, 200) * 2**20, resource.RLIM_INFINITY)
    )


def _full_device(sound: Path, scratch: Path) -> Iterator[Row]:
    """A file system of its own that fills up; skipped where it may not be mounted."""
    disk = _empty(scratch) / "disk"
    disk.mkdir()
    for size in (4096, 16_384, 65_536):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            yield "a full file system", "skipped", f"cannot be mounted here: {done.stderr.strip()}"
            return
        try:
            for verb in ("index", "export", "segment", "select"):
                attack = calls(sound, disk)[verb][0]
                result = start(attack, scratch / "told").result(seconds=SECONDS)
                outcome, detail = (
                    (HANG, "") if result is None else judge(attack, result, before=set())
                )
                if outcome == HALF and "refused, and yet made" in detail:
                    outcome = REFUSED
                yield "a full file system", outcome, f"{verb}, {size} bytes: {detail}"
                shutil.rmtree(disk / "out", ignore_errors=True)
        finally:
            subprocess.run(["umount", disk], check=False)


def _offline(sound: Path, scratch: Path) -> Iterator[Row]:
    """A namespace without any network, not even loopback; skipped where it may not be made."""
    folder = _empty(scratch)
    may = subprocess.run(["unshare", "-rn", "true"], capture_output=True, text=True, check=False)
    if may.returncode:
        yield "without a network", "skipped", f"not allowed here: {may.stderr.strip()}"
        return
    for verb, (attack, _) in calls(sound, folder).items():
        if verb == "run":
            continue
        words = ["unshare", "-rn", sys.executable, "-m", "nnstudent", *attack.argv]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=SECONDS)
        outcome, detail = judge(
            attack, Result(done.returncode, done.stdout, done.stderr), before=set()
        )
        yield "without a network", (outcome if outcome != REFUSED else LOSS), detail
        shutil.rmtree(folder / "out", ignore_errors=True)


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
