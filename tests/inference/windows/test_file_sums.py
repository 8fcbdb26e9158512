"""Sums in a temporary file are an array like any other, and take no memory while not in use."""

from __future__ import annotations

import ctypes
import errno
import platform
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from nnstudent.errors import OutputError
from nnstudent.inference.windows.file_sums import give_back_freed, zeros_in_file


def test_values_stay_when_they_are_dropped_from_memory():
    values, forget = zeros_in_file((3, 50, 70, 11))
    assert values.shape == (3, 50, 70, 11)
    assert values.dtype == np.float32
    assert not values.any()
    values[1, 7:40, :, 3] += 2.5
    forget()
    values[1, 30:] += 1
    forget()
    assert values[1, 7, 0, 3] == 2.5
    assert values[1, 35, 0, 3] == 3.5
    assert values[1, 45, 0, 3] == 1
    assert values.sum() == 33 * 70 * 2.5 + 20 * 70 * 11


def test_nothing_is_left_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    values, _ = zeros_in_file((2, 1000))
    values += 1
    del values
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line(monkeypatch):
    class Full:
        def write(self, _: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(OutputError, match=r"no room for 4\.0 GB of sums .*TMPDIR") as caught:
        zeros_in_file((1000, 1000, 1000))
    assert "\n" not in str(caught.value)


FREED = """
import numpy as np
import psutil
from nnstudent.inference.windows.file_sums import give_back_freed
parts = [np.ones(12_000) for _ in range(2000)]  # each less than glibc takes from the system alone
last = parts[-1]  # above it nothing is freed, so that glibc keeps what lies below
del parts
kept = psutil.Process().memory_info().rss
give_back_freed()
print(kept - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries decide themselves")
def test_what_was_freed_is_given_back():
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100e6  # of 192e6 bytes


def test_other_c_libraries_give_back_what_they_like(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    give_back_freed()


MEMORY = """
import sys
import psutil
from nnstudent.inference.windows.file_sums import zeros_in_file
before = psutil.Process().memory_info().rss
values, forget = zeros_in_file((200, 1000, 250))
for part in values:
    part += 1
    forget()
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems decide themselves")
def test_what_was_used_takes_no_memory():
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 40e6  # of 200e6 bytes
