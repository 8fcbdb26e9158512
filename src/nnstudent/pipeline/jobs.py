"""The stages of a run as jobs: a piece of a stage each, or what puts the pieces together.

A job is called by its stage, and a piece by its stage and its own name: ``study``, ``study_2``,
``label:2-of-8``. Each leaves a record under ``RUN/jobs`` when it has ended: ``study.json``,
``label/2-of-8.json``. Whatever starts the jobs has to know only that, and which follow which.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nnstudent.data_files import read_json_table
from nnstudent.errors import Failure, InputError, NnStudentError, OutputError, one_line
from nnstudent.io.atomic import write_json
from nnstudent.io.lock import writing
from nnstudent.io.record import read_state
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.meter import Meter
from nnstudent.pipeline.resources import Need
from nnstudent.pipeline.stages import (
    Load,
    Outcome,
    Piece,
    Stage,
    StageRecord,
    State,
    followed,
    lacking,
    passed_over,
    read_records,
    run_stage,
    write_records,
)
from nnstudent.pipeline.steps import stages
from nnstudent.serialization import from_plain, to_plain
from nnstudent.words import did_you_mean

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobRecord:
    """The record that a job leaves.

    Attributes:
        state: ``done``, ``failed`` or ``skipped``.
        detail: One line for people.
        inputs: Fingerprint of what the stage reads.
        seconds: Time that it took.
        peak_rss_mb: Largest resident memory, in MiB.
        failures: The cases that failed.
        facts: See :class:`~nnstudent.pipeline.stages.Outcome`.
        notices: Lines for the reader of the results.
    """

    state: State
    detail: str
    inputs: str = ""
    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    failures: tuple[Failure, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def job_name(stage: str, piece: str | None = None) -> str:
    """Return the name of a job, which can be part of a file name and of a rule."""
    whole = stage.replace(" ", "_")
    return whole if piece is None else f"{whole}:{piece}"


def record_path(run: RunFolder, stage: str, piece: str | None = None) -> Path:
    """Return where a job leaves its record."""
    name = job_name(stage)
    return run.jobs_folder / (f"{name}.json" if piece is None else f"{name}/{piece}.json")


def read_job(path: Path) -> JobRecord | None:
    """Read the record of a job; None if it has not ended or the record is damaged."""
    data = read_state(path, what="a job")
    if data is None:
        return None
    try:
        record: JobRecord = from_plain(JobRecord, data, where=str(path))
    except InputError as error:
        log.warning("%s; the job is done again", error)
        return None
    return record


def run_job(run: RunFolder, name: str, *, about: Mapping[str, Any]) -> StageRecord:
    """Do one job of a run.

    A piece leaves its record; a whole stage, or the merging of its pieces, also its row in
    ``run.json``.

    Args:
        run: The run.
        name: The job: ``STAGE`` or ``STAGE:PIECE``.
        about: What else to write into ``run.json`` if there is none yet.

    Returns:
        The record of the stage, or of the piece as if it were a stage.

    Raises:
        InputError: There is no such job, a stage or a piece before it has not ended, or a piece
            was made from something else.
        OutputError: The folder cannot be written, or another call does the same job.
    """
    all_stages = stages(run)
    stage, piece = find_job(all_stages, name)
    with writing(run.jobs_folder, part=name.replace(":", "-")):
        record_path(run, stage.name, None if piece is None else piece.name).unlink(missing_ok=True)
        missing = _missing(run, stage)
        if piece is not None:
            return _run_piece(run, stage, piece, missing=missing)
        row = passed_over(stage, missing) if missing else _run_whole(run, stage)
    with writing(run.jobs_folder, wait=True):
        _write_row(run, row, [item.name for item in all_stages], about=about)
        _write_job(
            record_path(run, stage.name),
            JobRecord(row.state, row.detail, notices=tuple(run.notices)),
        )
    return row


def find_job(all_stages: Sequence[Stage], name: str) -> tuple[Stage, Piece | None]:
    """Return the stage of a job, and its piece or None.

    Raises:
        InputError: There is no such job.
    """
    wanted, colon, part = name.partition(":")
    by_name = {job_name(stage.name): stage for stage in all_stages}
    if wanted not in by_name:
        hint = did_you_mean(wanted, by_name) or f"; expected one of {', '.join(by_name)}"
        raise InputError(f"--job {name}: no such stage{hint}")
    stage = by_name[wanted]
    if not colon:
        return stage, None
    pieces = {piece.name: piece for piece in stage.pieces}
    if part not in pieces:
        known = ", ".join(pieces) or "none"
        raise InputError(
            f"--job {name}: no such piece of {wanted}; it has {known}; --jobs N says into how many "
            "the cases are cut"
        )
    return stage, pieces[part]


def _missing(run: RunFolder, stage: Stage) -> list[str]:
    """Return what the stage needs and never will have.

    Raises:
        InputError: Something that it follows has not ended.
    """
    rows = read_records(run.out / "run.json")
    waits = [name for name in stage.needs if name not in rows]
    if waits:
        raise InputError(
            f"{stage.name}: needs {' and '.join(waits)}, which has not ended; run first: "
            f"--job {job_name(waits[0])}"
        )
    return lacking(stage, rows)


def _run_piece(
    run: RunFolder, stage: Stage, piece: Piece, *, missing: Sequence[str]
) -> StageRecord:
    path = record_path(run, stage.name, piece.name)
    if missing:
        row = passed_over(stage, missing)
        _write_job(path, JobRecord("skipped", row.detail, stage.inputs()))
        return row
    inputs = stage.inputs()
    state: State = "done"
    with Meter() as meter:
        try:
            outcome = piece.work()
            state = "skipped" if outcome.skipped else "done"
        except OutputError:  # of the disk, or of another job: it may work the next time
            raise
        except NnStudentError as error:
            outcome, state = Outcome(one_line(error)), "failed"
    record = JobRecord(
        state,
        outcome.detail,
        inputs,
        round(meter.seconds, 2),
        round(meter.peak_rss_mb, 1),
        tuple(outcome.failures),
        outcome.facts,
        tuple(run.notices),
    )
    _write_job(path, record)
    return StageRecord(
        job_name(stage.name, piece.name),
        record.state,
        record.seconds,
        record.peak_rss_mb,
        detail=record.detail,
        failures=record.failures,
    )


def _run_whole(run: RunFolder, stage: Stage) -> StageRecord:
    """Do a stage that is not cut, or merge its pieces."""
    before = read_records(run.out / "run.json").get(stage.name)
    if not stage.pieces:
        return run_stage(stage, before, retried=True)
    records = _pieces(run, stage)
    row = run_stage(stage, None, work=lambda: _merged(stage, records), retried=True)
    return replace(
        row,
        seconds=round(row.seconds + sum(record.seconds for record in records.values()), 2),
        peak_rss_mb=max(row.peak_rss_mb, *(record.peak_rss_mb for record in records.values())),
    )


def _pieces(run: RunFolder, stage: Stage) -> dict[str, JobRecord]:
    """Return the records of the pieces by name.

    Raises:
        InputError: A piece has not ended, or was made from something else.
    """
    inputs = stage.inputs()
    found = {
        piece.name: read_job(record_path(run, stage.name, piece.name)) for piece in stage.pieces
    }
    missing = [name for name, record in found.items() if record is None]
    stale = [name for name, record in found.items() if record and record.inputs != inputs]
    for names, what in ((missing, "not ended"), (stale, "changed inputs since")):
        if names:
            word, verb = ("piece", "has") if len(names) == 1 else ("pieces", "have")
            raise InputError(
                f"{stage.name}: {word} {', '.join(names)} {verb} {what}; run: "
                f"--job {job_name(stage.name, names[0])}"
            )
    return {name: record for name, record in found.items() if record is not None}


def _merged(stage: Stage, records: Mapping[str, JobRecord]) -> Outcome:
    failed = [f"{name}: {item.detail}" for name, item in records.items() if item.state == "failed"]
    if failed:
        raise InputError("; ".join(failed))
    outcomes = [
        Outcome(item.detail, item.failures, item.state == "skipped", item.facts)
        for item in records.values()
    ]
    if all(outcome.skipped for outcome in outcomes) or stage.merge is None:
        return outcomes[0]
    return stage.merge(outcomes)


def _write_job(path: Path, record: JobRecord) -> None:
    write_json(path, to_plain(record) | {"facts": dict(record.facts)})


def _write_row(
    run: RunFolder, row: StageRecord, order: Sequence[str], *, about: Mapping[str, Any]
) -> None:
    """Replace a stage's row in ``run.json``; what else is in it stays."""
    path = run.out / "run.json"
    rows = read_records(path) | {row.name: row}
    known: dict[str, Any] = {}
    if path.is_file():
        known = {
            key: value
            for key, value in read_json_table(path, what="a run").items()
            if key not in ("schema", "version", "stages")
        }
    write_records(path, [rows[name] for name in order if name in rows], about=known or about)


def job_table(run: RunFolder, *, left: Sequence[str]) -> list[dict[str, Any]]:
    """Return the stages that are left as plain data: what they follow, pieces and resources.

    Args:
        run: The run.
        left: Names of the stages that are left; the others are done.
    """
    all_stages = stages(run)
    after = followed(all_stages)

    def asks(load: Load) -> dict[str, int]:
        need: Need = getattr(run.preset.cluster, load)
        return need.to_snakemake(gpu=run.device != "cpu", cores=run.threads)

    return [
        {
            "name": job_name(stage.name),
            "after": [job_name(name) for name in after[stage.name] if name in left],
            "pieces": [piece.name for piece in stage.pieces],
            "load": stage.load,
            "resources": asks(stage.load),
            "waits": {piece.name: piece.after for piece in stage.pieces if piece.after},
            "first": {piece.name: asks(piece.load) for piece in stage.pieces if piece.load},
        }
        for stage in all_stages
        if stage.name in left
    ]


def describe_table(table: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each job: its name, what it asks for, and what it follows."""
    lines = []
    for row in table:
        for piece in row["pieces"] or [None]:
            job = row["name"] if piece is None else f"{row['name']}:{piece}"
            waits = [f"{row['name']}:{row['waits'][piece]}"] if piece in row["waits"] else []
            before = ", ".join(waits or row["after"])
            asks = _asked(row["first"].get(piece, row["resources"]))
            lines.append(f"{job:<20} {asks}; {f'after {before}' if before else 'first'}")
        if row["pieces"]:
            lines.append(f"{row['name']:<20} here, merges {len(row['pieces'])} pieces")
    return lines


def _asked(needs: Mapping[str, int]) -> str:
    gpus = f", {needs['gpu']} GPU" if needs.get("gpu") else ""
    return (
        f"{needs['threads']} cores{gpus}, {needs['mem_mb'] / 1000:g} GB, "
        f"{needs['runtime'] / 60:g} h"
    )


def forget_left(run: RunFolder, *, left: Sequence[str]) -> None:
    """Remove the records of jobs that have to run again.

    The pieces of the first stages that are left are kept if they fit and nothing in them failed.

    Args:
        run: The run.
        left: Names of the stages that are left.
    """
    all_stages = stages(run)
    after = followed(all_stages)
    for stage in all_stages:
        if stage.name not in left:
            continue
        record_path(run, stage.name).unlink(missing_ok=True)
        fits = None if set(left).intersection(after[stage.name]) else stage.inputs()
        folder = record_path(run, stage.name, "x").parent
        names = {piece.name for piece in stage.pieces}
        for path in folder.glob("*.json"):
            record = read_job(path) if fits is not None and path.stem in names else None
            kept = record is not None and record.inputs == fits and record.state != "failed"
            if not kept or (record is not None and record.failures):
                path.unlink(missing_ok=True)


def after_jobs(
    run: RunFolder, planned: Sequence[StageRecord], *, code: int, about: Mapping[str, Any]
) -> tuple[StageRecord, ...]:
    """Return the records of all stages when no job runs any more, and write what is missing.

    A stage whose job left no record has failed. The report is written in any case.

    Args:
        run: The run.
        planned: The records before the jobs; those that are not ``left`` are kept.
        code: Exit code of what started the jobs.
        about: What else to write into ``run.json`` if there is none yet.
    """
    all_stages = stages(run)
    before = {row.name: row for row in planned if row.state != "left"}
    made = read_records(run.out / "run.json")
    rows: dict[str, StageRecord] = {}
    for stage in all_stages:
        if stage.name in before:
            rows[stage.name] = before[stage.name]
        elif (record := read_job(record_path(run, stage.name))) and stage.name in made:
            rows[stage.name] = made[stage.name]
            run.notices.extend(record.notices)
        elif missing := lacking(stage, rows):
            rows[stage.name] = passed_over(stage, missing)
        elif stage.summarizes:
            rows[stage.name] = run_stage(stage, None)
        else:
            rows[stage.name] = StageRecord(stage.name, "failed", detail=_died(run, stage, code))
        write_records(run.out / "run.json", list(rows.values()), about=about)
    return tuple(rows.values())


def _died(run: RunFolder, stage: Stage, code: int) -> str:
    """Say which job of a stage left no record, and where its log is."""
    names = [piece.name for piece in stage.pieces]
    dead = [name for name in names if read_job(record_path(run, stage.name, name)) is None]
    path = record_path(run, stage.name, dead[0] if dead else None).with_suffix(".log")
    jobs = ", ".join(job_name(stage.name, name) for name in dead) or job_name(stage.name)
    return f"{jobs} ended without a result (exit code {code} of snakemake); see {path}"
