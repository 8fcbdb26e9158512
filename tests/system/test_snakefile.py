"""The Snakefile alone, with jobs that only leave records: order, deaths, and machines that share no
folder with Snakemake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from nnstudent.pipeline.cluster import Cluster, write_workflow
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.preset import load_preset
from nnstudent.pipeline.steps import stages

# Notes its name, and the first time that it is asked for the second fold it dies.
JOB = """\
import json, os, pathlib, sys
run, _, job = pathlib.Path(sys.argv[1]), *sys.argv[2:]
with (run / "order").open("a") as file:
    file.write(job + "\\n")
if job == "teach:organs-1" and not (run / "died").exists():
    (run / "died").touch()
    os.kill(os.getpid(), 9)
path = run / "jobs" / (job.replace(":", "/") + ".json")
path.write_text(json.dumps({"state": "done"}))
sys.exit(2 if job == "segment" else 0)
"""


def run_snakemake(folder: Path, *more: object) -> list[str]:
    """Run the jobs of a run in two parts, and return their order."""
    run = RunFolder(folder, folder, load_preset("demo"), jobs=2, sizes={"train": 4, "test": 1})
    (folder / "job.py").write_text(JOB)
    command = (sys.executable, str(folder / "job.py"), str(folder))
    snakefile = write_workflow(
        run,
        left=[stage.name for stage in stages(run)],
        cluster=Cluster("snakefile", 2, command=command),
    )
    program = Path(sys.executable).with_name("snakemake")
    words = [program, "--snakefile", snakefile, "--directory", folder, "--cores", 8, *more]
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stderr
    return (folder / "order").read_text().split()


def check(order: list[str], folder: Path) -> None:
    assert order.count("teach:organs-1") == 2  # died once
    once = [job for job in order if job != "teach:organs-1"]
    assert sorted(set(once)) == sorted(once)
    table = json.loads((folder / "jobs" / "table.json").read_text())
    for row in table["stages"]:
        pieces = [f"{row['name']}:{piece}" for piece in row["pieces"]]
        for job in pieces or [row["name"]]:
            assert all(order.index(job) > order.index(name) for name in row["after"]), job
        ends = len(order) - 1 - order[::-1].index(pieces[-1]) if pieces else -1
        assert order.index(row["name"]) > ends
    assert order[-1] == "report"


def test_every_job_runs_after_those_that_it_follows_and_again_if_it_died(tmp_path: Path) -> None:
    order = run_snakemake(tmp_path)
    check(order, tmp_path)
    assert run_again(tmp_path) == order


def run_again(folder: Path) -> list[str]:
    """Call Snakemake once more: nothing is left."""
    program = Path(sys.executable).with_name("snakemake")
    words = [program, "--snakefile", folder / "jobs" / "Snakefile", "--directory", folder]
    subprocess.run([*map(str, words), "--cores", "2"], capture_output=True, check=True, timeout=300)
    return (folder / "order").read_text().split()


def test_where_machines_share_a_volume_only(tmp_path: Path) -> None:
    storage = ["--default-storage-provider", "fs", "--shared-fs-usage", "none"]
    prefix = ["--default-storage-prefix", tmp_path / "jobs" / "copies"]
    table = ["--config", f"table={tmp_path / 'jobs' / 'table.json'}"]
    check(run_snakemake(tmp_path, *storage, *prefix, *table), tmp_path)
    copies = {path.name for path in (tmp_path / "jobs" / "copies").rglob("*.json")}
    assert {"index.json", "organs-1.json", "report.json"} <= copies
