"""``run``: the whole path, from scans to a student, its scores and a report."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nnstudent.cohort.sources.dispatch import read_source
from nnstudent.cohort.sources.source import Source
from nnstudent.errors import Failure
from nnstudent.inference.memory import gigabytes
from nnstudent.io.lock import writing
from nnstudent.machine import environment
from nnstudent.pipeline.cluster import (
    Cluster,
    find_snakemake,
    run_snakemake,
    snakemake_words,
    write_workflow,
)
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.forecast import Forecast
from nnstudent.pipeline.jobs import after_jobs, describe_table, job_table, run_job
from nnstudent.pipeline.preflight import check, parts
from nnstudent.pipeline.preset import load_preset
from nnstudent.pipeline.stages import (
    Listener,
    Stage,
    StageRecord,
    remaining,
    run_stages,
    silent_listener,
    write_records,
)
from nnstudent.pipeline.steps import stages
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy

log = logging.getLogger(__name__)

IN_PROCESS = Cluster()


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        stages: The record of each stage, in order.
        report: The report, or None if there is none.
        notices: Lines that a reader of the results should know.
        student: nnU-Net model folder of the last round's student, or None if there is none.
        broken: Of a dry run: the cases that cannot be used.
        jobs: Of a dry run for a cluster: a line for each job.
    """

    stages: tuple[StageRecord, ...]
    report: Path | None
    notices: tuple[str, ...] = ()
    student: Path | None = None
    broken: tuple[Failure, ...] = ()
    jobs: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The cases and the stages that failed."""
        rows = list(self.broken)
        for stage in self.stages:
            rows.extend(
                Failure(f"{stage.name}: {item.case}", item.reason) for item in stage.failures
            )
            if stage.state == "failed":
                rows.append(Failure(stage.name, stage.detail))
        return tuple(rows)

    @property
    def exit_code(self) -> int:
        """The command's exit code: the worst that the stages would have if called by themselves."""
        if any(stage.state == "failed" for stage in self.stages):
            return 2
        return 1 if self.failures else 0


def run(
    source: Path,
    out: Path,
    *,
    preset: str | Path,
    taxonomy: Taxonomy | None = None,
    device: str = "auto",
    threads: int | None = None,
    rounds: int = 1,
    baseline: bool = False,
    cluster: Cluster = IN_PROCESS,
    dry_run: bool = False,
    progress: Progress = silent,
    listener: Listener = silent_listener,
) -> RunResult:
    """Take the whole path, or go on from where an earlier call ended.

    Args:
        source: What :func:`nnstudent.cohort.index.index` reads: a folder of scans, a list, or a
            cohort folder.
        out: The run's folder: ``cohort``, ``teachers``, ``pseudo``, ``fused``, ``student``,
            ``second`` (of a cascade), ``bundle``, ``predictions``, ``scores``, ``report.html`` and
            ``run.json``, which says what each stage did, how long it took and how much memory.
        preset: Name of a preset, or a TOML file.
        taxonomy: The label table; None for the one that the source brings.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Processor threads; None for all.
        rounds: Most rounds of labeling. From the second on, the student of the round before is the
            teacher, and the results are in ``round2``, ``round3``, …; bundle, predictions, scores
            and report are of the last. No further round begins once the labels hardly change.
        baseline: Also train the student's network on the fully labeled cases alone, to see what
            the pseudo-labels bring.
        cluster: Where the work is done; by default the stages run in this process.
        dry_run: Only check extras, cases and disk space, and return what is left to do.
        progress: Called as a stage advances.
        listener: Called when a stage begins and when it has ended.

    Raises:
        InputError: The source or preset does not exist or is of no known kind, or no case can be
            used.
        MissingExtraError: A stage that is left, or ``cluster``, needs an extra that is not
            installed.
        OutputError: ``out`` cannot be written, another call writes into it, or its disk is too
            small.
    """
    folder, contents = open_run(
        source,
        out,
        preset=preset,
        taxonomy=taxonomy,
        device=device,
        threads=threads,
        rounds=rounds,
        baseline=baseline,
        jobs=cluster.jobs,
        progress=progress,
    )
    return run_folder(folder, contents, cluster=cluster, dry_run=dry_run, listener=listener)


def run_folder(
    folder: RunFolder,
    contents: Source,
    *,
    cluster: Cluster = IN_PROCESS,
    dry_run: bool = False,
    listener: Listener = silent_listener,
) -> RunResult:
    """Do as :func:`run` in a run's folder whose settings are decided; raises the same errors.

    Args:
        folder: The run's folder.
        contents: The content of its source.
        cluster: Where the work is done.
        dry_run: Only check.
        listener: Called when a stage begins and when it has ended.
    """
    out = folder.out
    program = find_snakemake(cluster) if cluster.calls_snakemake and not dry_run else None
    record = out / "run.json"
    planned = remaining(stages(folder), record)
    left = [row.name for row in planned if row.state == "left"]
    found = check(folder, contents, left=left, progress=folder.progress)
    if dry_run:
        jobs = () if cluster.in_process else tuple(describe_table(job_table(folder, left=left)))
        return RunResult(
            planned,
            _existing(out / "report.html"),
            notices=found.notices,
            broken=found.broken,
            jobs=jobs,
        )
    for line in found.notices:
        log.info("%s", line)
    with writing(out):
        if not cluster.in_process:
            rows = _run_jobs(folder, left, planned, cluster=cluster, program=program)
        else:
            forecast = Forecast(parts(folder, found.grids, left=left))
            folder.progress = forecast.shown_by(folder.progress)
            rows = run_stages(
                stages(folder), record, about=_about(folder), listener=_timed(listener, forecast)
            )
    report, student = _existing(out / "report.html"), _existing(folder.student)
    return RunResult(rows, report, notices=tuple(folder.notices), student=student)


def run_one(folder: RunFolder, job: str) -> RunResult:
    """Do one job of a run: a stage, a piece of one, or the merging of its pieces.

    Args:
        folder: The run's folder, as :func:`open_run` returns it for every job of the run.
        job: ``STAGE`` or ``STAGE:PIECE``, as ``run(…, dry_run=True)`` names them.

    Raises:
        InputError: There is no such job, or one before it has not ended.
        OutputError: The folder cannot be written, or another call does this job.
    """
    row = run_job(folder, job, about=_about(folder))
    return RunResult((row,), _existing(folder.out / "report.html"), notices=tuple(folder.notices))


def open_run(
    source: Path,
    out: Path,
    *,
    preset: str | Path,
    taxonomy: Taxonomy | None = None,
    device: str = "auto",
    threads: int | None = None,
    rounds: int = 1,
    baseline: bool = False,
    jobs: int = 1,
    progress: Progress = silent,
) -> tuple[RunFolder, Source]:
    """Return a run's folder and the content of its source; nothing is made yet.

    For the arguments see :func:`run`; ``jobs`` is into how many parts the cases are cut.

    Raises:
        InputError: The source or preset does not exist or is of no known kind, or a number is
            below 1.
    """
    contents = read_source(source, taxonomy=taxonomy)
    folder = RunFolder(
        source,
        out,
        load_preset(preset),
        taxonomy=taxonomy,
        device=device,
        threads=threads,
        round_count=rounds,
        baseline=baseline,
        jobs=jobs,
        sizes=Counter(entry.role for entry in contents.entries),
        progress=progress,
    )
    return folder, contents


def _about(folder: RunFolder) -> dict[str, object]:
    return {
        "source": os.path.abspath(folder.source),
        "preset": folder.preset.name,
        "rounds": folder.round_count,
        "device": folder.device,
        **({"teachers": [os.path.abspath(path) for path in folder.given]} if folder.given else {}),
        **({"start": os.path.abspath(folder.start.path)} if folder.start else {}),
        "recipes": folder.preset.to_dict(),
        "environment": environment(),
    }


def _run_jobs(
    folder: RunFolder,
    left: Sequence[str],
    planned: Sequence[StageRecord],
    *,
    cluster: Cluster,
    program: Path | None,
) -> tuple[StageRecord, ...]:
    """Have Snakemake do the jobs of the stages that are left, and return the records of all."""
    if not left:
        return tuple(planned)
    snakefile = write_workflow(folder, left=left, cluster=cluster)
    if program is None:
        log.info("%s: written; %d stages are left to do", snakefile, len(left))
        return tuple(planned)
    write_records(
        folder.out / "run.json",
        [row for row in planned if row.state == "done"],
        about=_about(folder),
    )
    code = run_snakemake(snakemake_words(program, snakefile, cluster))
    return after_jobs(folder, planned, code=code, about=_about(folder))


def _timed(listener: Listener, forecast: Forecast) -> Listener:
    """Return a listener that also notes in the forecast which stage runs."""

    def listen(stage: Stage, record: StageRecord | None, *, number: int, total: int) -> None:
        if record is None:
            forecast.begin(stage.name)
        else:
            forecast.end(stage.name)
        listener(stage, record, number=number, total=total)

    return listen


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def summary(rows: Sequence[StageRecord], *, details: bool = True) -> list[str]:
    """Return a table of the stages, a line for each: state, seconds, peak memory, detail.

    Args:
        rows: The records.
        details: Whether the detail of a stage is in its line; of a skipped one it always is.
    """
    lines = []
    for row in rows:
        state = "kept" if row.fresh and row.state == "done" else row.state
        shown = state.upper() if state == "failed" else state
        cost = " " * 21
        if row.seconds:
            cost = f"{row.seconds:8.1f} s {gigabytes(row.peak_rss_mb):7.2f} GB"
        detail = row.detail if details or row.state == "skipped" else ""
        lines.append(f"{row.name:<9} {shown:<8} {cost}  {detail}".rstrip())
    return lines


def to_dict(result: RunResult) -> dict[str, object]:
    """Return the result as plain data, for ``--report``."""
    return {
        "stages": [
            asdict(row) | {"failures": _failure_rows(row.failures)} for row in result.stages
        ],
        "notices": list(result.notices),
        "student": None if result.student is None else str(result.student),
        "report": None if result.report is None else str(result.report),
        "failures": _failure_rows(result.failures),
    }


def _failure_rows(failures: Sequence[Failure]) -> list[dict[str, str]]:
    return [{"id": item.case, "reason": item.reason} for item in failures]
