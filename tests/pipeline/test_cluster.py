"""What Snakemake is given, and what is refused before it is called."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nnstudent.errors import InputError, MissingExtraError
from nnstudent.pipeline import cluster as module
from nnstudent.pipeline.cluster import (
    Cluster,
    find_snakemake,
    snakemake_words,
    write_workflow,
)
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.preset import load_preset
from tests.called import call
from tests.path_scans import write_source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return write_source(tmp_path / "source")


@pytest.fixture
def words(source: Path, tmp_path: Path) -> list[object]:
    tables = ["--preset", source / "tiny.toml", "--taxonomy", source / "table.toml"]
    return ["run", source / "cases.toml", "-o", tmp_path / "RUN", *tables]


def test_a_dry_run_for_a_cluster_names_every_job_and_needs_no_snakemake(words, tmp_path):
    done = call(*words, "--executor", "slurm", "--jobs", 2, "--dry-run")
    assert done.returncode == 0, done.stderr
    jobs = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("job: ")]
    assert jobs[:3] == ["index:1-of-2", "index:2-of-2", "index"]
    assert {"teach:organs-1", "teach:tumor-0", "label:2-of-2", "study", "report"} <= set(jobs)
    assert "segment" in jobs  # of the only test case
    assert not (tmp_path / "RUN").exists()


def test_the_workflow_is_written_for_snakemake_alone(words, tmp_path):
    done = call(*words, "--executor", "snakefile", "--jobs", 2, "--device", "cpu", "--rounds", 2)
    assert done.returncode == 0, done.stderr
    assert "workflow: snakemake --snakefile" in done.stdout
    table = json.loads((tmp_path / "RUN" / "jobs" / "table.json").read_text())
    names = [stage["name"] for stage in table["stages"]]
    assert names[:4] == ["index", "teach", "label", "select"]
    assert "label_2" in names
    assert table["command"].startswith(f"{sys.executable} -m nnstudent run /")
    assert "--rounds 2" in table["command"]
    assert (tmp_path / "RUN" / "jobs" / "Snakefile").is_file()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--executor", "slrum"], "did you mean slurm?"),
        (["--jobs", "0"], "expected a whole number of at least 1"),
        (["--job", "teach:organs-9"], "no such piece of teach; it has organs-prepare, organs-0"),
        (["--job", "label:3-of-2", "--jobs", "2"], "no such piece of label"),
        (["--job", "study"], "study: needs select, which has not ended; run first: --job select"),
        (["--executor", "slurm", "--profile", "nowhere"], "expected a folder with config.yaml"),
    ],
)
def test_wrong_usage_is_one_line(words, more, message):
    done = call(*words, *more)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_snakemake_the_extra_is_named(words, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda *_, **__: None)
    done = call(*words, "--executor", "slurm", "--jobs", "2")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'nnstudent[cluster]'" in done.stderr
    assert not (tmp_path / "RUN").exists()


def test_a_snakemake_without_the_plugin_is_named(tmp_path, monkeypatch):
    # Python without the packages of any environment.
    (tmp_path / "python").symlink_to(Path(sys.executable).resolve())
    monkeypatch.setattr(module.shutil, "which", lambda *_, **__: str(tmp_path / "snakemake"))
    with pytest.raises(MissingExtraError, match="needs snakemake-executor-plugin-slurm, which"):
        find_snakemake(Cluster("slurm", 2))


def test_what_snakemake_is_called_with(tmp_path):
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "config.yaml").write_text("slurm-no-account: true\n")
    cluster = Cluster("slurm", 8, tmp_path / "profile", ("nnstudent", "run"))
    run = RunFolder(tmp_path, tmp_path / "RUN", load_preset("demo"), jobs=8)
    words = snakemake_words(Path("snakemake"), run.jobs_folder / "Snakefile", cluster)
    text = " ".join(words)
    assert f"--directory {tmp_path / 'RUN'} --executor slurm --jobs 8" in text
    assert text.endswith(f"--profile {tmp_path / 'profile'}")
    here = Cluster("local", 2)
    assert "--cores" in snakemake_words(Path("snakemake"), run.jobs_folder / "Snakefile", here)
    assert (Cluster().in_process, here.in_process) == (True, False)
    snakefile = write_workflow(run, left=["study"], cluster=cluster)
    table = json.loads(snakefile.with_name("table.json").read_text())
    assert (table["command"], [row["name"] for row in table["stages"]]) == (
        "nnstudent run",
        ["study"],
    )


def _run(program, *, before=""):
    """Run it by ``run_snakemake`` in a process of its own, whose main thread can be told of signals."""
    code = f"""
import signal
{before}
from nnstudent.pipeline.cluster import run_snakemake
try:
    print(run_snakemake([{str(program)!r}]))
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _program(folder, lines):
    program = folder / "snakemake"
    program.write_text(f"#!/bin/sh\n{lines}\n")
    program.chmod(0o755)
    return program


# Who starts a run by nohup, or in the background of a script, has it ignore the keyboard.
@pytest.mark.parametrize("before", ["", "signal.signal(signal.SIGINT, signal.SIG_IGN)"])
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to send")
def test_snakemake_is_interrupted_when_its_caller_is_ended(tmp_path, before):
    mark = tmp_path / "stopped"
    lines = f"trap 'echo stopped > {mark}; exit 1' INT\nkill -TERM $PPID; sleep 20"
    assert _run(_program(tmp_path, lines), before=before) == "interrupted"
    assert mark.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to send")
def test_it_is_interrupted_also_when_it_is_only_being_started(tmp_path):
    # What starts a process waits until the program is there; this one is ended before it.
    before = """
import os, subprocess
start = subprocess.Popen._execute_child
def slowly(self, *args):
    start(self, *args)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.getsignal(signal.SIGTERM)  # a signal is heard between two calls
subprocess.Popen._execute_child = slowly
"""
    mark = tmp_path / "lived"
    assert _run(_program(tmp_path, f"sleep 20; touch {mark}"), before=before) == "interrupted"
    assert not mark.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no keyboard's signal to send")
def test_who_ignores_the_keyboard_goes_on_ignoring_it(tmp_path):
    before = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    assert _run(_program(tmp_path, "kill -INT $PPID; exit 4"), before=before) == "4"


def test_there_is_no_other_executor():
    with pytest.raises(InputError, match="did you mean kubernetes"):
        Cluster("kubernetess")
