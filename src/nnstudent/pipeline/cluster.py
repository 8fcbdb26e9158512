"""Runs the jobs of a run by Snakemake: here, on SLURM, or on Kubernetes."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import nnstudent
from nnstudent.choices import EXECUTORS
from nnstudent.errors import InputError, MissingExtraError
from nnstudent.io.atomic import make_folder, write_json, write_text
from nnstudent.machine import cores
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.jobs import forget_left, job_table
from nnstudent.words import did_you_mean

log = logging.getLogger(__name__)

SCHEMA = 1
RETRIES = 3  # of a job that died: a node may be lost more than once
_COPIES = "copies"  # of records, where Snakemake cannot see those that the jobs leave
_LATENCY_SECONDS = 60  # until a file written on another machine must be seen


@dataclass(frozen=True)
class Cluster:
    """Where the jobs of a run are done.

    Attributes:
        executor: One of :data:`~nnstudent.choices.EXECUTORS`. ``local`` with one job runs the
            stages in this process, without Snakemake; ``snakefile`` only writes the workflow.
        jobs: How many jobs run at the same time. The cases are cut into as many parts.
        profile: Folder of a Snakemake profile, which says what is particular to the cluster; None
            for none.
        command: The command that runs one job, without ``--job``.

    Raises:
        InputError: There is no such executor, or the profile is no folder.
    """

    executor: str = "local"
    jobs: int = 1
    profile: Path | None = None
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            hint = did_you_mean(self.executor, EXECUTORS)
            hint = hint or f"; expected one of {', '.join(EXECUTORS)}"
            raise InputError(f"executor {self.executor}: no such executor{hint}")
        if self.jobs < 1:
            raise InputError(f"{self.jobs} jobs; expected at least 1")
        if self.profile is not None and not any(self.profile.glob("config*.yaml")):
            raise InputError(
                f"{self.profile}: no Snakemake profile; expected a folder with config.yaml"
            )

    @property
    def in_process(self) -> bool:
        """Whether the stages run in this process, one after the other."""
        return self.executor == "local" and self.jobs == 1

    @property
    def calls_snakemake(self) -> bool:
        """Whether Snakemake is needed."""
        return not self.in_process and self.executor != "snakefile"


def find_snakemake(cluster: Cluster) -> Path:
    """Return the program, in this Python's environment or on the path.

    Raises:
        MissingExtraError: It is not installed, or lacks the plugin of the executor.
    """
    beside = str(Path(sys.executable).parent)
    found = shutil.which("snakemake", path=beside) or shutil.which("snakemake")
    if found is None:
        raise MissingExtraError(
            f"--executor {cluster.executor} needs snakemake, which is not installed; "
            "install it with: pip install 'nnstudent[cluster]'"
        )
    module = f"snakemake_executor_plugin_{cluster.executor}"
    python = Path(found).with_name("python")
    if cluster.executor != "local" and python.exists():
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
        if subprocess.run([python, "-c", code], check=False).returncode:
            raise MissingExtraError(
                f"--executor {cluster.executor} needs {module.replace('_', '-')}, which is not "
                f"installed beside {found}; install it with: pip install 'nnstudent[cluster]'"
            )
    return Path(found)


def write_workflow(run: RunFolder, *, left: Sequence[str], cluster: Cluster) -> Path:
    """Write what Snakemake reads, and forget the records of jobs that have to run again.

    Args:
        run: The run.
        left: Names of the stages that are left.
        cluster: Where the jobs will be done.

    Returns:
        The Snakefile, ``RUN/jobs/Snakefile``; ``table.json`` is beside it.

    Raises:
        OutputError: The folder cannot be written.
    """
    forget_left(run, left=left)
    shutil.rmtree(run.jobs_folder / _COPIES, ignore_errors=True)
    table = job_table(run, left=left)
    if cluster.executor == "local":
        share = max(1, cores() // cluster.jobs)
        for row in table:
            for needs in (row["resources"], *row["first"].values()):
                needs["threads"] = min(needs["threads"], share)
    write_json(
        run.jobs_folder / "table.json",
        {
            "schema": SCHEMA,
            "version": nnstudent.__version__,
            "command": shlex.join(cluster.command),
            "retries": RETRIES,
            "stages": table,
        },
    )
    for row in table:
        if row["pieces"]:
            make_folder(run.jobs_folder / row["name"])  # for their logs
    snakefile = run.jobs_folder / "Snakefile"
    write_text(snakefile, (files("nnstudent.pipeline") / "Snakefile").read_text("utf-8"))
    return snakefile


def snakemake_words(program: Path, snakefile: Path, cluster: Cluster) -> list[str]:
    """Return the command that has Snakemake do the jobs.

    Args:
        program: Snakemake.
        snakefile: ``RUN/jobs/Snakefile``.
        cluster: Where the jobs are done.
    """
    words = [str(program), "--snakefile", str(snakefile)]
    words += ["--directory", str(snakefile.parent.parent), "--executor", cluster.executor]
    if cluster.executor == "local":
        # One job at a time on the GPU, unless a profile says that there are more.
        share = max(1, cores() // cluster.jobs)
        words += ["--cores", str(share * cluster.jobs), "--resources", "gpu=1"]
    else:
        words += ["--jobs", str(cluster.jobs), "--latency-wait", str(_LATENCY_SECONDS)]
    if cluster.executor == "kubernetes":
        # Its plugin takes for granted that pods share no folder with it. They share a volume, on
        # which it keeps copies of the records.
        words += ["--config", f"table={snakefile.with_name('table.json')}"]
        words += ["--default-storage-provider", "fs"]
        words += ["--default-storage-prefix", str(snakefile.with_name(_COPIES))]
    # Whoever runs Snakemake holds the run's folder, whose lock ends with the process.
    words += ["--keep-going", "--rerun-incomplete", "--rerun-triggers", "mtime", "--nolock"]
    words += ["--quiet", "rules"]
    return words + (["--profile", str(cluster.profile)] if cluster.profile else [])


def run_snakemake(words: Sequence[str]) -> int:
    """Run Snakemake; when this process is interrupted, wait until it has ended its jobs.

    Returns:
        Its exit code.
    """
    log.info("%s", shlex.join(words))
    # Python buffers what goes into a file, and the log of a job is read while it runs.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process: subprocess.Popen[bytes] | None = None
    asked = False

    def interrupt() -> None:
        nonlocal asked
        asked = True
        if process is not None:
            raise KeyboardInterrupt

    with _stopping_calls(interrupt):
        try:
            # In a session of its own it is interrupted once, whoever interrupts this process and
            # how; and who is interrupted before it is known starts it first, then ends it.
            process = subprocess.Popen(words, env=environment, start_new_session=True)
            if asked:
                raise KeyboardInterrupt
            return process.wait()
        except KeyboardInterrupt:
            if process is not None:
                os.killpg(process.pid, signal.SIGINT)
                process.wait()
            raise


@contextmanager
def _stopping_calls(interrupt: Callable[[], None]) -> Iterator[None]:
    """Let the keyboard, and SIGTERM, which batch systems send, call ``interrupt``.

    What this process was started to ignore, such as the keyboard in the background, it goes on
    ignoring. A process that is started meanwhile ignores neither, so that it can be ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heard(number: int, _frame: object) -> None:
        if before[signal.Signals(number)] is not signal.SIG_IGN:
            interrupt()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in numbers}
    for number in numbers:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
