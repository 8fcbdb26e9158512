"""Reports what this machine is and what it gives to the process, and gives memory back to it."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

# What a paper's table of the environment names, if it is installed.
_PACKAGES = ("nnstudent", "torch", "nnunetv2", "openvino", "numpy", "scipy", "nibabel")


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allow_open_files(fewest: int = 64) -> int:
    """Raise the limit on open files where it is lower than libraries need, as far as allowed.

    Where one more file cannot be opened, some of them end the process without a word.

    Args:
        fewest: How many files must be possible.

    Returns:
        How many are possible.
    """
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return fewest
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= fewest:
        return fewest
    allowed = fewest if hard == resource.RLIM_INFINITY else min(fewest, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def give_back_freed_memory() -> None:
    """Give memory that was freed back to the system, which glibc otherwise keeps for later."""
    with suppress(AttributeError, OSError, TypeError):  # other C libraries, and Windows
        ctypes.CDLL(None).malloc_trim(0)


def environment() -> dict[str, Any]:
    """Return the machine and the versions of what computes, as plain data.

    Returns:
        ``system``, ``processor`` (None if the system does not name it), ``cores`` that this process
        may use, ``memory_gb`` in GB of 10⁹ bytes, ``gpus`` and ``cuda`` (None if torch is not
        loaded, and an empty list if it finds no GPU), ``python`` and ``packages`` by name.
    """
    import psutil

    gpus, cuda = _gpus()
    return {
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": gpus,
        "cuda": cuda,
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
    }


def _processor() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, UnicodeDecodeError):
        pass
    return platform.processor() or None


def _gpus() -> tuple[list[str] | None, str | None]:
    torch = sys.modules.get("torch")  # slow to import, and whoever trains has it
    if torch is None:
        return None, None
    if not torch.cuda.is_available():
        return [], None
    names = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
    return names, torch.version.cuda


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # slow to import

    try:
        return version(name)
    except PackageNotFoundError:
        return None
