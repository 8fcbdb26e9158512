"""The training's process is replaced by one that says what a training says."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnstudent.errors import InputError
from nnstudent.web.datastore import learning as module
from nnstudent.web.datastore.learning import Learning
from nnstudent.web.datastore.scans import ConflictError
from nnstudent.web.settings import Settings

SAYS = "import json, sys, time\nfor line in {lines!r}: print(json.dumps(line), flush=True)\n{end}"


class Base:
    """The model that the service was started with."""

    path = Path("/opt/secret/student")


class Models:
    """Numbers in place of students."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number, self.recorded = folder, 0, {}
        self.base = Base()

    def new(self):
        return 1, self.folder

    def record(self, number, result):
        self.recorded[number] = result

    def use(self, number):
        self.number = number
        return f"student {number}"

    def tidy(self, number):
        self.tidied = number

    def go_back(self):
        self.number = 0
        return "base"


@pytest.fixture
def learning(tmp_path, monkeypatch):
    """A service's training whose process says given lines."""
    (tmp_path / "corrected").mkdir()
    (tmp_path / "corrected" / "cohort.json").write_text("{}")
    used, commands = [], []

    def make(*lines, end="", preset="demo", corrected="corrected"):
        def popen(command, **how):
            commands.append(command)
            how["env"] = None
            script = SAYS.format(lines=lines, end=end)
            return original([sys.executable, "-c", script], **how)

        original = subprocess.Popen
        monkeypatch.setattr(module.subprocess, "Popen", popen)
        settings = Settings(tmp_path / "work", preset=preset, threads=8)
        made = Learning(settings, Models(tmp_path), tmp_path / corrected, swap=used.append)
        made.used, made.commands = used, commands
        return made

    return make


def ended(learning):
    until = time.monotonic() + 30
    while learning.running and time.monotonic() < until:
        time.sleep(0.02)
    return learning.last


def learned(better):
    return {"learned": {"better": better, "why": "mean DSC 0.8 before, 0.9 after"}}


def test_a_better_student_is_used(learning):
    it = learning({"progress": ["student, fold 0", 3, 9]}, learned(True))
    it.begin("anna")
    training = ended(it)
    assert (training.state, training.used, training.by) == ("done", True, "anna")
    assert training.steps == (3, 9)
    assert it.used == ["student 1"]
    it.go_back()
    assert it.used == ["student 1", "base"]


def test_a_worse_one_is_not(learning):
    it = learning(learned(False))
    it.begin("anna")
    training = ended(it)
    assert (training.state, training.used) == ("done", False)
    assert "0.9 after" in training.why
    assert not it.used


@pytest.mark.parametrize(
    ("lines", "end", "words"),
    [
        ([{"error": "out of luck"}], "", "out of luck"),
        ([], "sys.exit(3)", "code 3"),
        ([], "print('{')", "ended unexpectedly"),
    ],
)
def test_one_that_fails_changes_nothing(learning, lines, end, words):
    it = learning(*lines, end=end)
    it.begin("anna")
    training = ended(it)
    assert training.state == "failed"
    assert words in training.why
    assert not it.used


def test_why_it_failed_names_no_folder_of_the_machine(learning, tmp_path):
    it = learning(
        {"error": f"{tmp_path}/a b/s0.nii.gz: cannot be read; /opt/secret/student: another network"}
    )
    it.begin("anna")
    assert ended(it).why == "a b/s0.nii.gz: cannot be read; student: another network"


def test_one_at_a_time_and_it_can_be_stopped(learning):
    it = learning(end="time.sleep(60)")
    it.begin("anna")
    with pytest.raises(ConflictError, match="begun by anna"):
        it.begin("ben")
    assert it.give_up()
    assert ended(it).state == "stopped"
    it.stop()
    assert not it.give_up()
    it.begin("ben")
    it.stop()


def test_one_core_stays_free(learning, monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: 4)
    it = learning(learned(False))
    it.begin("anna")
    ended(it)
    (command,) = it.commands
    assert command[command.index("--threads") + 1] == "3"


def test_without_a_preset_or_corrections_there_is_nothing_to_train(learning):
    with pytest.raises(InputError, match="--learn"):
        learning(preset=None).begin("anna")
    with pytest.raises(InputError, match="no scan has been corrected"):
        learning(corrected="nowhere").begin("anna")
