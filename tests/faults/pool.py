"""Worker processes under limits: one that hangs or dies is counted and replaced, and the rest goes
on."""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from nnstudent.cli.main import main
from tests.faults.outcome import CRASH, HANG, INTERNAL, Attack, Result, judge, listing

MEMORY = 4 << 30  # address space that a worker may take beyond what it has when it starts
SECONDS = 300.0  # after which a case hangs; study measures a slow machine for over a minute
Make = Callable[[random.Random, Path], Attack]


@dataclass(frozen=True)
class Task:
    """A case: its kind, its number there, and whether it runs as a process of its own."""

    kind: str
    number: int
    process: bool = False


@dataclass(frozen=True)
class Verdict:
    """What became of a case."""

    task: Task
    outcome: str
    detail: str
    argv: list[str]
    seconds: float


def run_tasks(
    tasks: Iterable[Task], makers: dict[str, Make], *, seed: int, scratch: Path, workers: int = 2
) -> Iterator[Verdict]:
    """Try every case; in the order in which they end.

    Args:
        tasks: The cases.
        makers: What makes the attack of a kind, from a random generator and an empty folder.
        seed: With kind and number it decides everything about a case.
        scratch: A folder for the cases' files; they are removed if there was no fault.
        workers: How many at once.
    """
    left, running = iter(tasks), {}
    free = [_Worker(makers, seed=seed, scratch=scratch / f"w{k}") for k in range(workers)]
    try:
        while True:
            while free and (task := next(left, None)) is not None:
                worker = free.pop()
                worker.start(task)
                running[worker.pipe] = worker
            if not running:
                return
            ready = wait(list(running), timeout=1.0)
            for worker in [w for pipe, w in running.items() if pipe in ready or w.is_late()]:
                del running[worker.pipe]
                verdict = worker.verdict()
                free.append(worker)
                yield verdict
    finally:
        for worker in [*free, *running.values()]:
            worker.end()


class _Worker:
    """A forked process that tries one case after another."""

    def __init__(self, makers: dict[str, Make], *, seed: int, scratch: Path) -> None:
        self._how: dict[str, Any] = {"makers": makers, "seed": seed, "scratch": scratch}
        scratch.mkdir(parents=True, exist_ok=True)
        self._task, self._began = Task("", 0), 0.0
        self._fork()

    def _fork(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self._process = context.Process(
            target=_serve, args=(theirs,), kwargs=self._how, daemon=True
        )
        self._process.start()
        theirs.close()

    def start(self, task: Task) -> None:
        self._task, self._began = task, time.monotonic()
        self.pipe.send(task)

    def is_late(self) -> bool:
        return time.monotonic() - self._began > SECONDS

    def verdict(self) -> Verdict:
        seconds = time.monotonic() - self._began
        try:
            if self.pipe.poll():
                return Verdict(self._task, *self.pipe.recv(), seconds)
            outcome, detail = HANG, f"no end after {SECONDS:.0f} s"
        except EOFError:
            self._process.join(10)
            outcome, detail = CRASH, f"the process ended with {self._process.exitcode}"
        self.end()
        self._fork()
        return Verdict(self._task, outcome, detail, [], seconds)

    def end(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, *, makers: dict[str, Make], seed: int, scratch: Path) -> None:
    quiet = os.open(
        scratch / "native.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    )  # what libraries in C print
    os.dup2(quiet, 1), os.dup2(quiet, 2)
    with open("/proc/self/statm") as stream:
        taken = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        folder = scratch / f"{task.kind.replace(' ', '-')}-{task.number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            attack = makers[task.kind](random.Random(f"{seed} {task.kind} {task.number}"), folder)
            before = listing(folder)
            result = _as_process(attack) if task.process else call_here(attack)
            outcome, detail = judge(attack, result, before=before)
            argv = attack.argv
        except Exception:  # the campaign's own fault, told as one so that it is not overlooked
            outcome, detail, argv = INTERNAL, "campaign: " + traceback.format_exc()[-900:], []
        pipe.send((outcome, detail, argv))
        if outcome in ("ok", "refused"):
            shutil.rmtree(folder, ignore_errors=True)


def call_here(attack: Attack) -> Result:
    """Call the command in this process."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)
    )
    before, environment = (sys.stdout, sys.stderr), dict(os.environ)
    sys.stdout, sys.stderr = out, err
    logging.getLogger().handlers.clear()  # they hold the stream of the call before
    os.environ.update(attack.environment)
    code: int | None
    try:
        code = main(attack.argv)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        code = None
        traceback.print_exc(file=err)
    finally:
        sys.stdout, sys.stderr = before
        os.environ.clear()
        os.environ.update(environment)
    return Result(
        code, *(stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err))
    )


def _as_process(attack: Attack) -> Result:
    words = [sys.executable, "-m", "nnstudent", *attack.argv]
    done = subprocess.run(
        [os.fsencode(word) for word in words],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=SECONDS,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | attack.environment,
    )
    return Result(
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )
