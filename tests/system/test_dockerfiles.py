"""The Dockerfiles, read by a linter: no container engine is at hand, so they are not built here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILES = sorted((ROOT / "docker").glob("*/Dockerfile"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_hadolint_has_nothing_to_say(file: Path) -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program, "no hadolint; the extra [system] brings it"
    done = subprocess.run(
        [program, "--no-color", str(file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_what_is_copied_is_there_and_nobody_runs_as_root(file: Path) -> None:
    text = file.read_text()
    arguments = dict(re.findall(r"^ARG (\w+)=(.+)$", text, flags=re.M))
    for places in re.findall(r"^COPY (.+) \S+$", text, flags=re.M):
        for place in places.split():
            assert (
                ROOT / re.sub(r"\$\{(\w+)\}", lambda name: arguments[name[1]], place)
            ).exists(), place
    assert re.findall(r"^USER (.+)$", text, flags=re.M)[-1] not in ("root", "0")
