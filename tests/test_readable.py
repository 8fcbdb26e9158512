from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.readable import HANDLER, readable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 3×4 – …\t\n", "größe 3×4 – …\t\n"),
        (os.fsdecode(b"caf\xe9.nii"), r"caf\xe9.nii"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("a\u202etxt.exe", r"a\u202etxt.exe"),
        ("\ud83d", r"\ud83d"),
    ],
)
def test_unprintable_characters_are_spelled_out(text: str, shown: str) -> None:
    assert readable(text) == shown


@given(st.text() | st.binary().map(os.fsdecode))
def test_every_text_can_be_written_as_utf8_and_is_then_readable(text: str) -> None:
    readable(text).encode("utf-8")
    assert readable(readable(text)) == readable(text)


@given(st.text() | st.binary().map(os.fsdecode))
def test_every_text_can_be_written_on_every_terminal(text: str) -> None:
    for encoding in ("ascii", "latin-1", "cp1252", "utf-8"):
        text.encode(encoding, HANDLER)


def test_an_ascii_terminal_gets_plain_characters() -> None:
    assert "512×512 – 0.8±0.1 … µ".encode("ascii", HANDLER) == b"512x512 - 0.8+-0.1 ... u"
