"""A tree of processes, measured as a whole."""

from __future__ import annotations

import os
import sys

import pytest

from nnstudent.profiling import profile
from tests.profiling.conftest import HOLD, python

BUSY = "import time\nwhile time.process_time() < {seconds}: pass"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the proportional set size")
def test_shared_pages_are_counted_once(held):
    for seconds in (2, 10):
        assert held.peak_pss_mb is not None
        assert held.peak_pss_mb <= held.peak_rss_mb + 1
        if held.peak_pss_mb >= 300:
            return
        # On a busy machine it is read so seldom that no reading fell into the time of the peak.
        held = profile(python(HOLD, mb=300, seconds=seconds))
    assert 300 <= held.peak_pss_mb <= held.peak_rss_mb + 1


def test_the_tree_is_measured_not_only_its_root():
    inner = HOLD.format(mb=150, seconds=1.0)
    code = (
        f"import subprocess, sys\n"
        f"a = [subprocess.Popen([sys.executable, '-S', '-c', {inner!r}]) for _ in range(2)]\n"
        f"[p.wait() for p in a]"
    )
    assert profile([sys.executable, "-c", code]).peak_rss_mb > 300


def test_processor_time_includes_children_that_have_ended():
    child = BUSY.format(seconds=0.4)
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', {child!r}])"
    found = profile([sys.executable, "-S", "-c", code])
    assert 0.4 <= found.cpu_seconds < 2


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="no wait4 on this system")
def test_a_peak_between_two_samples_is_not_lost():
    import resource  # not on Windows

    # a child counts as large as its parent, so it must grow larger than the test runner ever was
    mb = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        // 2 ** (20 if sys.platform == "darwin" else 10)
        + 200
    )
    found = profile(python("held = bytearray(b'x') * ({mb} * 2**20); del held", mb=mb), interval=30)
    assert found.peak_rss_mb > mb
