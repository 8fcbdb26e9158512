from __future__ import annotations

import sys

import numpy as np
import psutil
import pytest

from nnstudent.training.cpu.malloc import freed_memory_kept

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="glibc's malloc is on Linux"
)

BLOCK = 200_000_000


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def test_a_freed_block_is_kept_within_and_given_back_after() -> None:
    before = _resident()
    with freed_memory_kept():
        block = np.ones(BLOCK, np.uint8)
        del block
        kept = _resident() - before
    after = _resident() - before
    assert kept > 0.9 * BLOCK
    assert after < 0.5 * BLOCK
