"""What a stage costs."""

from __future__ import annotations

from nnstudent.machine import give_back_freed_memory
from nnstudent.pipeline.meter import Meter


def test_the_meter_sees_memory_that_was_held_for_a_moment():
    give_back_freed_memory()  # else what earlier tests freed may be held again unseen
    with Meter(every_seconds=0.01) as meter:
        quiet = meter.peak_rss_mb
        block = bytearray(b"\1") * 80_000_000
        import time

        time.sleep(0.1)
        del block
    assert meter.peak_rss_mb - quiet > 60
    assert meter.seconds >= 0.1
