"""A disk without room ends an export in one line, and leaves nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="exports, and torch is not installed")
pytest.importorskip("resource", reason="limits are POSIX's")

CALL = """
import resource, signal, sys
from nnstudent.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails with an error, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(["export", sys.argv[2], "-o", sys.argv[3], *sys.argv[4:]]))
"""


@pytest.mark.parametrize(("size", "more"), [(3000, []), (3000, ["--no-torch"]), (100, [])])
def test_export(folder, tmp_path, size, more):
    words = [sys.executable, "-c", CALL, str(size), str(folder), str(tmp_path / "bundle"), *more]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"nnstudent export: {tmp_path}")
    assert "--debug" not in line
    assert list(tmp_path.iterdir()) == []
