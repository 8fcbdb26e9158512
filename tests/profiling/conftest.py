from __future__ import annotations

import sys

import pytest

from nnstudent.profiling import profile

HOLD = "import time; held = bytearray(b'x') * ({mb} * 2**20); time.sleep({seconds})"


def python(program: str, **values: object) -> list[str]:
    return [sys.executable, "-S", "-c", program.format(**values)]


@pytest.fixture(scope="module")
def held():
    return profile(python(HOLD, mb=300, seconds=0.8))
