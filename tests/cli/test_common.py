"""What the verbs share."""

from __future__ import annotations

import pytest

from nnstudent.cli.common import Display


def test_progress_says_what_is_done_not_how(capsys: pytest.CaptureFixture[str]) -> None:
    """A radiologist's window is a range of densities."""
    with Display() as display:
        for done in (1, 3):
            display("windows", done, 3)
        display("cases", 1, 1)
    assert capsys.readouterr().err.splitlines() == [
        "segmenting: 1/3",
        "segmenting: 3/3",
        "cases: 1/1",
    ]
