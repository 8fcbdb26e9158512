"""Calls that are killed at random moments and then made again: the result is that of an undisturbed
one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from random import Random
from typing import Any

import nibabel as nib
import numpy as np

from tests.faults.calls import start
from tests.faults.outcome import CRASH, HALF, HANG, LOSS, OK, Attack, leftovers, unreadable

SECONDS = 600.0
Row = tuple[str, str, str]  # kind, outcome, a line
# What differs from call to call, and what tells of it.
_TIMES = ("seconds", "time", "rss", "mb", "date", "command", "version", "made_from", "key")
_MODELS = ("files", "models", "model", "confidence", "agreement", "hash", "began")
_UNLIKE = (".html", ".svg", ".png", ".log", ".txt", ".pth", ".bin", ".xml", ".safetensors", ".md")


def calls(sound: Path, folder: Path) -> dict[str, tuple[Attack, int]]:
    """By verb the call that is killed, and its share of the kills."""
    out, source = folder / "out", sound / "source"
    table, preset = ["--taxonomy", source / "table.toml"], ["--preset", source / "preset.toml"]
    alone = ["--threads", "1"]
    words: dict[str, tuple[list[Any], int]] = {
        "run": (["run", source / "cases.csv", "-o", out, *preset, *table, *alone], 40),
        "index": (["index", source / "cases.csv", "-o", out, *table, *alone], 10),
        "label": (["label", sound / "cohort", "-o", out, "--from", sound / "made"], 10),
        "select": (["select", sound / "cohort", sound / "pseudo", "-o", out, "--leave-open"], 10),
        "export": (["export", sound / "model", "-o", out], 10),
        "segment": (["segment", source, "-o", out, "--model", sound / "bundle", *alone], 10),
        "evaluate": (
            ["evaluate", sound / "predictions", sound / "truth", "--report", out / "x.json"],
            5,
        ),
        "report": (["report", sound / "run", "-o", out / "x.html"], 5),
    }
    return {
        verb: (Attack([str(word) for word in argv], folder, out), weight)
        for verb, (argv, weight) in words.items()
    }


def kill_all(sound: Path, scratch: Path, *, seed: int, count: int) -> Iterator[Row]:
    """Kill so many calls, going on after every few; what became of each."""
    total = sum(weight for _, weight in calls(sound, scratch).values())
    for verb in calls(sound, scratch):
        folder = scratch / "kills" / verb
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        attack, weight = calls(sound, folder)[verb]
        chance = Random(f"{seed} kills {verb}")
        began = time.monotonic()
        code, told = _whole(attack, folder)
        seconds = time.monotonic() - began
        if code != 0:
            yield f"kills: {verb}", CRASH, f"undisturbed, exit code {code}: {told}"
            continue
        (folder / "out").rename(folder / "reference")
        left = -(-count * weight // total)
        while left > 0:
            left -= yield from _chain(
                verb, attack, folder, chance, seconds=seconds, most=min(left, 5)
            )
            problem = _finish(attack, folder)
            yield f"kills: {verb}, gone on with to the end", *(problem or (OK, ""))
            shutil.rmtree(folder / "out", ignore_errors=True)


def _chain(
    verb: str, attack: Attack, folder: Path, chance: Random, *, seconds: float, most: int
) -> Generator[Row, None, int]:
    """Kill calls one after the other, each of which goes on with the last; how many it were."""
    longest = seconds * (0.5 if verb == "run" else 1.0)
    for _ in range(most):
        call = start(attack, folder / "told")
        until = time.monotonic() + chance.uniform(0, longest)
        while time.monotonic() < until and not call.is_over():
            time.sleep(0.002)
        call.kill()
        shown = [path for path in (folder / "out").rglob("*") if not _is_hidden(path, folder)]
        bad = next((f"{path}: {why}" for path in shown if (why := unreadable(path))), "")
        yield f"kills: {verb}", *((HALF, bad) if bad else (OK, ""))
    return most


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".nnstudent") for part in path.relative_to(folder).parts)


def _whole(attack: Attack, folder: Path) -> tuple[int | None, str]:
    result = start(attack, folder / "told").result(seconds=SECONDS)
    if result is None:
        return -1, HANG
    return result.code, (result.err.strip().splitlines() or [""])[-1]


def _finish(attack: Attack, folder: Path) -> tuple[str, str] | None:
    """Call to the end and compare with the undisturbed result; what is wrong, or None."""
    code, told = _whole(attack, folder)
    if code != 0:
        return (HANG, told) if code == -1 else (CRASH, f"exit code {code}: {told}")
    left = leftovers(folder)
    return (HALF, f"left behind: {left}") if left else compare(folder / "reference", folder / "out")


def compare(reference: Path, made: Path) -> tuple[str, str] | None:
    """What a result lacks or has otherwise than another: files, voxels, values but for times.

    In a run that trained, weights and what follows from them may differ; the cohort and the names
    may not.
    """
    names = [
        {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        for root in (reference, made)
    ]
    if names[0] != names[1]:
        return LOSS, f"other files than undisturbed: {sorted(names[0] ^ names[1])[:3]}"
    trained = any(name.endswith(".pth") for name in names[0])
    for name in sorted(names[0]):
        if bad := unreadable(made / name):
            return HALF, f"{name}: {bad}"
        if name.endswith(_UNLIKE) or (trained and not name.startswith("cohort/")):
            continue
        if not _same(reference / name, made / name):
            return LOSS, f"{name}: other content than undisturbed"
    return None


def _same(one: Path, other: Path) -> bool:
    if one.name.endswith(".nii.gz"):
        return np.array_equal(*(np.asarray(nib.load(path).dataobj) for path in (one, other)))
    if one.suffix == ".json":
        first, second = (_lasting(json.loads(path.read_text())) for path in (one, other))
        return bool(first == second)
    return True


def _lasting(data: Any) -> Any:
    """Plain data without what differs from call to call."""
    if isinstance(data, dict):
        return {
            key: _lasting(value)
            for key, value in data.items()
            if not any(word in key.lower() for word in (*_TIMES, *_MODELS))
        }
    return [_lasting(value) for value in data] if isinstance(data, list) else data
