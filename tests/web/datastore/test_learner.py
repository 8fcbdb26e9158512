"""The process that trains, run as the service runs it."""

from __future__ import annotations

import json
import subprocess
import sys

from nnstudent.cohort.cohort import Cohort, write_cohort
from nnstudent.taxonomy import flare23


def test_what_goes_wrong_is_its_last_line(tmp_path):
    write_cohort(tmp_path, Cohort(flare23(), ()))
    command = [sys.executable, "-m", "nnstudent.web.datastore.learner", "--preset", "demo"]
    command += ["--corrections", str(tmp_path), "--out", str(tmp_path / "out"), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    last = json.loads(done.stdout.splitlines()[-1])
    assert "no corrected scan to learn from" in last["error"]
