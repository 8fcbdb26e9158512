"""Numbers as the report shows them."""

from __future__ import annotations

from nnstudent.report.format import duration, memory, percent, signed


def test_durations() -> None:
    expected = ["–", "1.2 s", "1 min 15 s", "2 h 01 min"]
    assert [duration(value) for value in (None, 1.25, 75, 7260)] == expected


def test_memory_is_decimal() -> None:
    assert [memory(value) for value in (None, 512.0, 2048.0)] == ["–", "537 MB", "2.1 GB"]


def test_differences_have_their_sign_and_a_zero_has_none() -> None:
    expected = ["–", "+3.1", "−3.1", "0.0"]
    assert [signed(value) for value in (None, 0.031, -0.031, -0.0001)] == expected


def test_percent() -> None:
    assert percent(0.8859) == "88.6"
