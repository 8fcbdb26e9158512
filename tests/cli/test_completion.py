from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnstudent.choices import SHELLS
from nnstudent.cli.completion import listed
from nnstudent.cli.main import main


def completions(line: str, tmp_path: Path) -> set[str]:
    """What a shell is answered when Tab is pressed at the end of a line."""
    pytest.importorskip("argcomplete", reason="completion needs the extra [completion]")
    answer = tmp_path / "answer"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    done = subprocess.run(
        [sys.executable, "-m", "nnstudent"], env=environment, capture_output=True, check=False
    )
    assert done.stdout == b""
    return {word.strip() for word in answer.read_text().split("\n") if word.strip()}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nnstudent seg", {"segment"}),
        ("nnstudent segment ct.nii.gz --wind", {"--windows"}),
        ("nnstudent segment ct.nii.gz --device ", {"auto", "cpu", "cuda", "gpu", "npu"}),
        ("nnstudent segment ct.nii.gz --organs liver,sp", {"liver,spleen"}),
        ("nnstudent segment ct.nii.gz --format nifti,rt", {"nifti,rtstruct"}),
        ("nnstudent run cases.csv --preset la", {"laptop"}),
    ],
)
def test_a_shell_is_answered(line: str, words: set[str], tmp_path: Path) -> None:
    assert completions(line, tmp_path) == words


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("argcomplete", reason="completion needs the extra [completion]")
    assert main(["completion", shell]) == 0
    assert "nnstudent" in capsys.readouterr().out


def test_without_the_extra_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert main(["completion", "bash"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'nnstudent[completion]'" in line


def test_of_a_list_the_last_word_is_completed() -> None:
    complete = listed(lambda: ("liver", "spleen", "aorta"))
    assert complete("li") == ["liver", "spleen", "aorta"]
    assert complete("liver,") == ["liver,spleen", "liver,aorta"]
