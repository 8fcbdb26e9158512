"""Sums in a temporary file are an array like any other, and take no memory while not in use."""

from __future__ import annotations

import errno
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from nnstudent.errors import OutputError
from nnstudent.inference.windows.file_sums import zeros_in_file


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
