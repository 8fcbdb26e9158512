"""Keep the memory that a step frees for the next, instead of returning it to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from nnstudent.machine import give_back_freed_memory

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h of glibc
_GLIBC_TRIM_THRESHOLD, _GLIBC_MMAP_MAX = 128 * 1024, 65536  # its defaults


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let glibc keep large blocks that are freed; with another C library nothing changes.

    A step on a CPU allocates and frees the same few gigabytes. glibc returns each large block to
    the system, which fills the next one with zeros again, page by page: 30 % of a step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        yield
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        mallopt(_MMAP_MAX, _GLIBC_MMAP_MAX)
        mallopt(_TRIM_THRESHOLD, _GLIBC_TRIM_THRESHOLD)
        give_back_freed_memory()
