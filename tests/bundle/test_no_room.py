"""A disk without room ends an export in one line, and leaves nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="exports, and torch is not installed")
pytest.importorskip("resource", reason="limits are POSIX's")

# One process for all calls, because importing torch takes longer than they do.
CALLS = """
import json, resource, signal, sys
from nnstudent.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails with an error, as on a full disk
for size, words in json.loads(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    code = main(["export", *words])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(code, flush=True)
    print("end of", words[-1], file=sys.stderr, flush=True)
"""
CASES = ((3000, ()), (3000, ("--no-torch",)), (100, ()))


def test_export(folder, tmp_path):
    calls = [
        (size, [str(folder), *more, "-o", str(tmp_path / str(number) / "bundle")])
        for number, (size, more) in enumerate(CASES)
    ]
    for number in range(len(CASES)):
        (tmp_path / str(number)).mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CALLS, json.dumps(calls)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2"] * len(CASES), done.stderr
    said = done.stderr.splitlines()
    for number in range(len(CASES)):
        place = tmp_path / str(number)
        line = said[said.index(f"end of {place / 'bundle'}") - 1]
        assert line.startswith(f"nnstudent export: {place}")
        assert "--debug" not in line
        assert list(place.iterdir()) == []
