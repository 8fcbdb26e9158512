"""The whole path through a real SLURM, jobs and slurmd killed at random: it ends as here."""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.path_scans import PRESET, write_source
from tests.system.slurm import Slurm, slurm, write_profile

SEED = 4
PARTS = ("index", "teach", "select")  # a job is killed after each of these
MINUTES = 30  # at most: on a machine that others use it takes several times as long


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans and a preset of as few steps as make a student of any kind."""
    folder = write_source(tmp_path_factory.mktemp("source"))
    short = PRESET.replace("epochs              = 4", "epochs              = 1")
    short = short.replace("iterations          = 14", "iterations          = 6")
    (folder / "tiny.toml").write_text(short.replace("min_agreement = 0.05", "min_agreement = 0.0"))
    return folder


def words(source: Path, out: Path, *more: object) -> list[str]:
    tables = ["--preset", source / "tiny.toml", "--taxonomy", source / "table.toml"]
    start = [sys.executable, "-m", "nnstudent", "run", source / "cases.toml", "-o", out, *tables]
    return [str(word) for word in [*start, "--threads", 1, "--device", "cpu", *more]]


def results(run: Path) -> dict[str, str]:
    """Hashes of everything that a reader of the results takes from a run."""
    folders = [run / "bundle", run / "predictions", run / "pseudo"]
    files = [path for folder in folders for path in sorted(folder.rglob("*"))]
    kinds = (".gz", ".bin", ".xml", ".safetensors")
    return {
        str(path.relative_to(run)): hashlib.sha256(content(path)).hexdigest()
        for path in files
        if path.suffix in kinds
    }


def content(path: Path) -> bytes:
    """The content of a file; of a network's graph without the numbers that OpenVINO counts up in
    each process."""
    data = path.read_bytes()
    return re.sub(rb'"(Model|[A-Za-z]+_)[0-9]+"', b'""', data) if path.suffix == ".xml" else data


def means(run: Path) -> Mapping[str, object]:
    return json.loads((run / "scores" / "student.json").read_text())["mean"]


def disturb(cluster: Slurm, process: subprocess.Popen[str], run: Path) -> int:
    """Kill a job in each part of the path, and slurmd once; returns how many jobs were killed."""
    chance, killed, end = random.Random(SEED), 0, time.monotonic() + 60 * MINUTES
    while process.poll() is None and time.monotonic() < end:
        time.sleep(chance.uniform(1, 6))
        if killed < len(PARTS) and (run / "jobs" / f"{PARTS[killed]}.json").exists():
            killed += cluster.kill_a_job(chance)
            if killed == 1:
                cluster.restart_slurmd()
    return killed


@pytest.mark.timeout(60 * MINUTES + 300)
def test_a_run_on_slurm_with_jobs_killed_equals_the_run_here(source: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    profile = write_profile(tmp_path / "profile")
    with slurm(tmp_path / "slurm", cpus=8) as cluster, (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            words(source, there, "--executor", "slurm", "--jobs", 2, "--profile", profile),
            env=cluster.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            killed = disturb(cluster, process, there)
            code = process.wait(60)
        finally:
            process.kill()
        log.seek(0)
        text = log.read()
        assert code == 0, f"{text[-6000:]}\n{job_logs(there)}\n{cluster.log()}"
    assert killed == len(PARTS)
    done = subprocess.run(words(source, here), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert results(there) == results(here)
    assert means(there) == means(here)
    rows = json.loads((there / "run.json").read_text())["stages"]
    assert {row["state"] for row in rows} == {"done"}


def job_logs(run: Path) -> str:
    return "\n".join(
        f"== {path.relative_to(run)}\n{path.read_text()[-800:]}"
        for path in sorted((run / "jobs").rglob("*.log"))
    )
