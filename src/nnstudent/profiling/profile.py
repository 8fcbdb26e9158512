"""Run a command and measure it: FLARE's efficiency figures, of any command."""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nnstudent.errors import InputError
from nnstudent.profiling.gpu import Gpu
from nnstudent.profiling.tree import Tree

INTERVAL = 0.1  # seconds between two looks: FLARE's own
# What FLARE23 tolerates: seconds a case and GPU memory, and the container's RAM.
SECONDS, GPU_MB, RAM_MB = 15.0, 4096.0, 28672.0


@dataclass(frozen=True)
class Sample:
    """One look.

    Attributes:
        seconds: Since the command was started.
        rss_mb: Resident memory of the process tree, in MiB.
        pss_mb: Its proportional set size, in MiB; None where it was not looked at.
        gpu_mb: Memory in use on the GPU, in MiB; None without one.
    """

    seconds: float
    rss_mb: float
    pss_mb: float | None = None
    gpu_mb: float | None = None


@dataclass(frozen=True)
class Tolerance:
    """A limit of FLARE23: ``value`` is None, and so is ``within``, where it was not measured."""

    what: str
    limit: float
    value: float | None

    @property
    def within(self) -> bool | None:
        """Whether it was kept."""
        return None if self.value is None else self.value <= self.limit


@dataclass(frozen=True)
class Profile:
    """What a command took.

    Attributes:
        command: The command and its arguments.
        exit_code: Its exit code; 128 + the signal's number where one ended it, as in a shell.
        wall_seconds: From its start to its end, its start-up included.
        cpu_seconds: Processor time of the process tree.
        peak_rss_mb: Largest resident memory of the process tree, in MiB.
        peak_pss_mb: Largest proportional set size seen, in MiB; None where the system does not tell, or the command was too short.
        rss_area_mb_s: Area under resident memory over time, in MiB·s.
        gpu: The GPU's name; None without one.
        gpu_missing: Why there are no GPU figures; empty where there are.
        gpu_before_mb: What was in use on the GPU before the command started, in MiB.
        peak_gpu_mb: Largest memory in use on the GPU, in MiB.
        gpu_area_mb_s: Area under it over time, in MiB·s: FLARE's figure.
        interval_seconds: Time between two looks that was aimed at.
        samples: The looks.
    """

    command: tuple[str, ...]
    exit_code: int
    wall_seconds: float
    cpu_seconds: float
    peak_rss_mb: float
    peak_pss_mb: float | None
    rss_area_mb_s: float
    gpu: str | None
    gpu_missing: str
    gpu_before_mb: float | None
    peak_gpu_mb: float | None
    gpu_area_mb_s: float | None
    interval_seconds: float
    samples: tuple[Sample, ...]

    @property
    def tolerances(self) -> tuple[Tolerance, ...]:
        """FLARE23's limits and what they were held against."""
        return (
            Tolerance("seconds", SECONDS, self.wall_seconds),
            Tolerance("gpu_mb", GPU_MB, self.peak_gpu_mb),
            Tolerance("ram_mb", RAM_MB, self.peak_rss_mb),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON; without a GPU its figures are the words that say so, never a number."""
        data = asdict(self) | {
            "samples": [list(asdict(sample).values()) for sample in self.samples]
        }
        data["sample_columns"] = ["seconds", "rss_mb", "pss_mb", "gpu_mb"]
        for key in ("gpu", "gpu_before_mb", "peak_gpu_mb", "gpu_area_mb_s"):
            data[key] = self.gpu_missing if data[key] is None else data[key]
        rows = {item.what: asdict(item) | {"within": item.within} for item in self.tolerances}
        data["tolerances"] = {
            name: {key: row[key] for key in ("limit", "value", "within")}
            for name, row in rows.items()
        }
        return data


def profile(
    command: Sequence[str], *, interval: float = INTERVAL, gpu: int = 0, quiet: bool = False
) -> Profile:
    """Run a command to its end and measure it; its input and output are this process's own.

    Args:
        command: The command and its arguments; no shell reads them.
        interval: Seconds between two looks. A peak shorter than that can be missed, but for one of a single process, which the kernel
            keeps.
        gpu: NVML's number of the GPU to look at.
        quiet: Whether the command has no input, and what it says is thrown away.

    Raises:
        InputError: There is no command, it cannot be started, or the interval is not above 0.
    """
    if not command:
        raise InputError(
            "no command to profile; give one after --, as in: nnstudent profile -- nnstudent segment ct.nii.gz -o labels.nii.gz"
        )
    if not (math.isfinite(interval) and interval > 0):
        raise InputError(f"an interval of {interval} s between looks; expected a number above 0")
    device = Gpu(gpu)
    try:
        return _measured(tuple(command), interval, device, subprocess.DEVNULL if quiet else None)
    finally:
        device.close()


def _measured(
    command: tuple[str, ...], interval: float, device: Gpu, stream: int | None
) -> Profile:
    gpu_before = device.used_mb()
    start = time.perf_counter()
    try:
        process = subprocess.Popen(command, stdin=stream, stdout=stream, stderr=stream)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"{command[0]}: cannot be started ({why}); expected a command as the shell would find it"
        ) from error
    child = _Child(process)
    tree = Tree(process.pid)
    samples: list[Sample] = []
    cpu = 0.0
    try:
        while True:
            sample = Sample(
                time.perf_counter() - start, tree.rss_mb(), tree.pss_mb(), device.used_mb()
            )
            if child.ended():
                break
            samples.append(sample)
            cpu = max(cpu, tree.cpu_seconds())
            # The next multiple of the interval: late looks do not add up.
            due = (math.floor((time.perf_counter() - start) / interval) + 1) * interval
            if child.ends_within(start + due - time.perf_counter()):
                break
        wall = time.perf_counter() - start
    finally:
        child.stop()
    known = [sample.pss_mb for sample in samples if sample.pss_mb is not None]
    gpu = [sample.gpu_mb for sample in samples if sample.gpu_mb is not None]
    return Profile(
        command=command,
        exit_code=child.exit_code,
        wall_seconds=wall,
        cpu_seconds=max(cpu, child.cpu_seconds),
        peak_rss_mb=max([child.peak_rss_mb, *(sample.rss_mb for sample in samples)]),
        peak_pss_mb=max(known, default=None),
        rss_area_mb_s=_area([(sample.seconds, sample.rss_mb) for sample in samples], wall),
        gpu=device.name,
        gpu_missing=device.missing,
        gpu_before_mb=gpu_before,
        peak_gpu_mb=max(gpu, default=None),
        gpu_area_mb_s=_area([(s.seconds, s.gpu_mb) for s in samples if s.gpu_mb is not None], wall)
        if gpu
        else None,
        interval_seconds=interval,
        samples=tuple(samples),
    )


def _area(points: Sequence[tuple[float, float]], end: float) -> float:
    """Each value times the time until the next look: FLARE's sum of samples × 0.1 s, right also where looks came late."""
    if not points:  # it ended before the first look
        return 0.0
    times = [*(seconds for seconds, _ in points[1:]), end]
    return sum(
        value * (until - seconds) for (seconds, value), until in zip(points, times, strict=True)
    )


class _Child:
    """The command's process; where the system tells (not on Windows) with what the kernel counted for it and all it waited for."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.cpu_seconds = 0.0
        self.peak_rss_mb = 0.0

    @property
    def exit_code(self) -> int:
        code = self._process.returncode
        return code if code >= 0 else 128 - code

    def ended(self) -> bool:
        if self._process.returncode is not None:
            return True
        if not hasattr(os, "wait4"):
            return self._process.poll() is not None
        pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        if pid == 0:
            return False
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        self.peak_rss_mb = _kernel_peak_mb(usage.ru_maxrss)
        return True

    def ends_within(self, seconds: float) -> bool:
        """Wait so long, or until it has ended, to about 5 ms."""
        until = time.perf_counter() + seconds
        while not self.ended():
            left = until - time.perf_counter()
            if left <= 0:
                return False
            time.sleep(min(left, 0.005))
        return True

    def stop(self) -> None:
        """End it if it still runs, as when Ctrl-C ended us."""
        if not self.ended():
            self._process.terminate()
            if not self.ends_within(5.0):
                self._process.kill()
                self.ends_within(5.0)


def _kernel_peak_mb(largest: int) -> float:
    """The kernel's peak of the largest single process; 0 where it says no more than that we are large ourselves.

    A child begins as a copy of its parent, whose size the kernel then counts as its own peak.
    """
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest * unit / 2**20 if largest > own else 0.0
