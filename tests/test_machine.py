"""What the machine gives to the process, and gets back."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from nnstudent.machine import give_back_freed_memory


@pytest.mark.parametrize(("limits", "allowed"), [((20, 20), 20), ((20, 500), 64), ((300, 500), 64)])
def test_the_limit_on_open_files_is_raised_as_far_as_allowed(limits, allowed):
    pytest.importorskip("resource")
    code = (
        "import resource, sys\n"
        "from nnstudent.machine import allow_open_files\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, {limits})\n"
        "print(allow_open_files(64), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    told, soft = map(int, done.stdout.split())
    assert told == allowed
    assert soft == max(limits[0], allowed)


def test_too_few_open_files_are_one_line():
    pytest.importorskip("resource")
    code = (
        "import resource, sys\n"
        "from nnstudent.cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))\n"
        "sys.exit(main(['segment', 'a.nii.gz', '-o', 'b.nii.gz']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "may open only 20 files" in done.stderr
    assert len(done.stderr.splitlines()) == 1


FREED = """
import numpy as np
import psutil
from nnstudent.machine import give_back_freed_memory
parts = [np.ones(12_000) for _ in range(2000)]  # each less than glibc takes from the system alone
last = parts[-1]  # above it nothing is freed, so that glibc keeps what lies below
del parts
kept = psutil.Process().memory_info().rss
give_back_freed_memory()
print(kept - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries decide themselves")
def test_what_was_freed_is_given_back():
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100e6  # of 192e6 bytes


def test_other_c_libraries_give_back_what_they_like(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    give_back_freed_memory()
