"""The campaign's quick part: some of every kind of malformed input; ``make test-faults`` tries ten
thousand and more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
pytest.importorskip("torch", reason="the extra [train] is not installed")

COUNT = 80


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="workers are forked, and limited as Linux does"
)
def test_malformed_inputs_are_refused_in_one_line(tmp_path: Path) -> None:
    """In a process of its own: workers are forked, which other tests' threads would not survive."""
    words = [
        "--count",
        str(COUNT),
        "--seed",
        "1",
        "--workers",
        "1",
        "--part",
        "inputs",
        "--scratch",
        str(tmp_path),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *words],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"seed 1: {COUNT} tried, 0 faults" in done.stdout
