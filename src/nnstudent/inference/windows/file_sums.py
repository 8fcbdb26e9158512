"""Sums of windows in a temporary file, for images whose sums do not fit in memory."""

from __future__ import annotations

import logging
import math
import mmap
import tempfile
from collections.abc import Callable, Sequence

import numpy as np

from nnstudent.errors import OutputError
from nnstudent.types import Float32Array

log = logging.getLogger(__name__)

_AT_ONCE = 1 << 24  # bytes written at a time


def zeros_in_file(shape: Sequence[int]) -> tuple[Float32Array, Callable[[], None]]:
    """An array of zeros that lies in a temporary file, and a function that drops it from memory.

    The values stay in the file, where the system keeps what it has room for. The file has no name
    and goes with the array.

    Args:
        shape: Shape of the array.

    Returns:
        The array, and what to call when a part of it has been used, so that this part takes no
        memory of the process until it is used again. On Windows it does nothing, because the
        system decides.

    Raises:
        OutputError: The folder of temporary files has no room.
    """
    size = 4 * math.prod(shape)
    file = tempfile.TemporaryFile(prefix="nnstudent-")  # noqa: SIM115  # closed with the array
    log.info("holding sums of %.1f GB in a temporary file in %s", size / 1e9, tempfile.gettempdir())
    try:
        # Written and not only made longer: on a full disk a hole would end the process later.
        nothing = bytes(min(size, _AT_ONCE))
        for first in range(0, size, _AT_ONCE):
            file.write(nothing[: size - first])
        file.flush()
    except OSError as error:
        raise OutputError(
            f"{tempfile.gettempdir()}: has no room for {size / 1e9:.1f} GB of sums "
            f"({error.strerror}); free some, name another folder by TMPDIR, or raise "
            "--memory-limit"
        ) from error
    pages = mmap.mmap(file.fileno(), size)
    file.close()  # the mapping keeps it
    values: Float32Array = np.frombuffer(pages, np.float32).reshape(tuple(shape))

    def forget() -> None:
        if hasattr(mmap, "MADV_DONTNEED"):  # the pages of a shared mapping are kept by the file
            pages.madvise(mmap.MADV_DONTNEED)

    return values, forget
