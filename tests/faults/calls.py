"""The command in a forked process of its own, which can be limited and killed; heavy imports are
done before."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.outcome import Attack, Result
from tests.faults.pool import call_here


@dataclass
class Call:
    """A call that runs."""

    pid: int
    told: Path

    def kill(self) -> None:
        """End it and all that it started, at once."""
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def is_over(self) -> bool:
        """Whether it has ended by itself; it is not reaped."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def result(self, *, seconds: float) -> Result | None:
        """What came of it; None: it did not end in time, and was killed."""
        until = time.monotonic() + seconds
        while not self.is_over():
            if time.monotonic() > until:
                self.kill()
                return None
            time.sleep(0.02)
        _, status = os.waitpid(self.pid, 0)
        if self.told.is_file():
            return pickle.loads(self.told.read_bytes())  # type: ignore[no-any-return]
        part = self.told.with_suffix(".part")
        why = part.read_text("utf-8", "replace").strip() if part.is_file() else ""
        said = f"the process ended by itself: {why}" if why else "the process ended by itself"
        return Result(-os.waitstatus_to_exitcode(status) or None, "", said)


def start(attack: Attack, told: Path, *, before: Callable[[], None] = lambda: None) -> Call:
    """Call the command.

    Args:
        attack: Its words.
        told: A file for what it says.
        before: Called in the new process first, such as to limit it.
    """
    told.unlink(missing_ok=True)
    pid = os.fork()
    if pid:
        return Call(pid, told)
    try:
        os.setsid()
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1), os.dup2(quiet, 2)
        store = os.open(told.with_suffix(".part"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        before()
        result = call_here(attack)
        for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_AS):
            resource.setrlimit(limit, (resource.getrlimit(limit)[1],) * 2)
        os.write(store, pickle.dumps(result))
        os.rename(told.with_suffix(".part"), told)
    except BaseException:
        os.write(store, traceback.format_exc().encode())  # stays in the .part file
    finally:
        sys.stdout.flush()
        os._exit(0)
