"""Running a command and measuring it: FLARE's efficiency figures for any command."""

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
from nnstudent.profiling.tree import ProcessTree

INTERVAL = 0.1  # seconds between two samples, as in FLARE
# FLARE23's tolerances: seconds per case, GPU memory, and the container's RAM.
SECONDS, GPU_MB, RAM_MB = 15.0, 4096.0, 28672.0


@dataclass(frozen=True)
class MemorySample:
    """Memory at one moment.

    Attributes:
        seconds: Seconds since the start of the command.
        rss_mb: Resident memory of the process tree, in MiB.
        pss_mb: Proportional set size of the process tree, in MiB; None if it was not read.
        gpu_mb: Memory in use on the GPU, in MiB; None without a GPU.
    """

    seconds: float
    rss_mb: float
    pss_mb: float | None = None
    gpu_mb: float | None = None


@dataclass(frozen=True)
class Tolerance:
    """A limit of FLARE23.

    Attributes:
        what: Name of the figure.
        limit: Largest value tolerated.
        value: Measured value; None if it was not measured.
    """

    what: str
    limit: float
    value: float | None

    @property
    def within(self) -> bool | None:
        """Whether the limit was kept; None if the figure was not measured."""
        return None if self.value is None else self.value <= self.limit


@dataclass(frozen=True)
class Profile:
    """Time and memory of a command.

    Attributes:
        command: The command and its arguments.
        exit_code: Exit code of the command; 128 + the signal's number if a signal ended it, as in a
            shell.
        wall_seconds: Seconds from its start to its end, including its start-up.
        cpu_seconds: CPU time of the process tree.
        peak_rss_mb: Peak resident memory of the process tree, in MiB.
        peak_pss_mb: Largest proportional set size sampled, in MiB; None if the system does not
            report it or the command was too short.
        rss_area_mb_s: Area under resident memory over time, in MiB·s.
        gpu: Name of the GPU; None without one.
        gpu_missing: Why there are no GPU figures; empty if there are.
        gpu_before_mb: Memory in use on the GPU before the command started, in MiB.
        peak_gpu_mb: Largest memory in use on the GPU, in MiB.
        gpu_area_mb_s: Area under GPU memory over time, in MiB·s: FLARE's figure.
        interval_seconds: Intended time between two samples.
        samples: Memory over time.
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
    samples: tuple[MemorySample, ...]

    @property
    def tolerances(self) -> tuple[Tolerance, ...]:
        """FLARE23's limits, with the measured values."""
        return (
            Tolerance("seconds", SECONDS, self.wall_seconds),
            Tolerance("gpu_mb", GPU_MB, self.peak_gpu_mb),
            Tolerance("ram_mb", RAM_MB, self.peak_rss_mb),
        )

    def to_dict(self) -> dict[str, Any]:
        """The profile as plain data for JSON; missing GPU figures are words, never numbers."""
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
    """Run a command to its end and measure it; it inherits this process's input and output.

    Args:
        command: The command and its arguments; no shell interprets them.
        interval: Seconds between two samples. A shorter peak can be missed, except that of a single
            process, which the kernel records.
        gpu: NVML's number of the GPU to measure.
        quiet: Whether to run the command without input and discard its output.

    Raises:
        InputError: The command is empty or cannot be started, or the interval is not above 0.
    """
    if not command:
        raise InputError(
            "no command to profile; give one after --, as in: "
            "nnstudent profile -- nnstudent segment ct.nii.gz -o labels.nii.gz"
        )
    if not (math.isfinite(interval) and interval > 0):
        raise InputError(f"an interval of {interval} s between samples; expected a number above 0")
    device = Gpu(gpu)
    try:
        return _measure(
            tuple(command),
            interval=interval,
            device=device,
            stream=subprocess.DEVNULL if quiet else None,
        )
    finally:
        device.close()


def _measure(
    command: tuple[str, ...], *, interval: float, device: Gpu, stream: int | None
) -> Profile:
    gpu_before = device.used_mb()
    start = time.perf_counter()
    try:
        process = subprocess.Popen(command, stdin=stream, stdout=stream, stderr=stream)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"{command[0]}: cannot be started ({why}); expected a command that the shell would find"
        ) from error
    child = _Child(process)
    tree = ProcessTree(process.pid)
    samples: list[MemorySample] = []
    cpu = 0.0
    try:
        while True:
            sample = MemorySample(
                time.perf_counter() - start, tree.rss_mb(), tree.pss_mb(), device.used_mb()
            )
            if child.ended():
                break
            samples.append(sample)
            cpu = max(cpu, tree.cpu_seconds())
            # Waiting for the next multiple of the interval keeps delays from adding up.
            due = (math.floor((time.perf_counter() - start) / interval) + 1) * interval
            if child.ends_within(start + due - time.perf_counter()):
                break
        wall = time.perf_counter() - start
    finally:
        child.stop()
    rss = [(sample.seconds, sample.rss_mb) for sample in samples]
    pss = [sample.pss_mb for sample in samples if sample.pss_mb is not None]
    gpu = [(sample.seconds, sample.gpu_mb) for sample in samples if sample.gpu_mb is not None]
    return Profile(
        command=command,
        exit_code=child.exit_code,
        wall_seconds=wall,
        cpu_seconds=max(cpu, child.cpu_seconds),
        peak_rss_mb=max([child.peak_rss_mb, *(mb for _, mb in rss)]),
        peak_pss_mb=max(pss, default=None),
        rss_area_mb_s=_area(rss, wall),
        gpu=device.name,
        gpu_missing=device.missing,
        gpu_before_mb=gpu_before,
        peak_gpu_mb=max((mb for _, mb in gpu), default=None),
        gpu_area_mb_s=_area(gpu, wall) if gpu else None,
        interval_seconds=interval,
        samples=tuple(samples),
    )


def _area(points: Sequence[tuple[float, float]], end: float) -> float:
    """The sum of each value times the time until the next sample.

    It equals FLARE's sum of samples × 0.1 s, and is also right if samples come late.
    """
    if not points:  # it ended before the first look
        return 0.0
    times = [*(seconds for seconds, _ in points[1:]), end]
    return sum(
        value * (until - seconds) for (seconds, value), until in zip(points, times, strict=True)
    )


class _Child:
    """The command's process.

    Except on Windows, the CPU time and peak memory are the kernel's figures for the process and all
    descendants that were waited for.
    """

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
        """Wait at most this long; whether the process has ended, to about 5 ms."""
        until = time.perf_counter() + seconds
        while not self.ended():
            left = until - time.perf_counter()
            if left <= 0:
                return False
            time.sleep(min(left, 0.005))
        return True

    def stop(self) -> None:
        """End the process if it still runs, for example after Ctrl-C."""
        if not self.ended():
            self._process.terminate()
            if not self.ends_within(5.0):
                self._process.kill()
                self.ends_within(5.0)


def _kernel_peak_mb(largest: int) -> float:
    """The kernel's peak of the largest single process; 0 if that is only this process's own size.

    A child begins as a copy of its parent, whose size the kernel then counts as its peak.
    """
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest * unit / 2**20 if largest > own else 0.0
