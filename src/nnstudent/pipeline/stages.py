"""Stages in order: what each needs, what it did, what is left. Knows nothing of what a stage does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import nnstudent
from nnstudent.errors import Failure, NnStudentError, one_line
from nnstudent.io.atomic import write_json
from nnstudent.io.record import data_hash, read_state
from nnstudent.pipeline.fingerprint import fingerprint
from nnstudent.pipeline.meter import Meter

log = logging.getLogger(__name__)

State = Literal["done", "failed", "skipped", "left"]
SCHEMA = 1


@dataclass(frozen=True)
class Outcome:
    """What a stage says when it has ended.

    Attributes:
        detail: One line for people.
        failures: The cases that failed while the others were done.
        skipped: Whether there was nothing for it to work on, as ``detail`` says.
    """

    detail: str
    failures: Sequence[Failure] = ()
    skipped: bool = False


@dataclass(frozen=True)
class Stage:
    """One step of the path.

    Attributes:
        name: Its name.
        work: Does it; must itself do only what is missing.
        needs: The stages without which it cannot start.
        reads: Gives the files and folders that it reads; asked when its turn comes, for earlier stages decide what there is.
        writes: Files and folders that it writes.
        settings: Plain data that decides its result.
        sums_up: Whether it tells about all the others, and so runs again whenever one of them has.
    """

    name: str
    work: Callable[[], Outcome]
    needs: Sequence[str]
    reads: Callable[[], Sequence[Path]]
    writes: Sequence[Path]
    settings: Any = None
    sums_up: bool = False

    def inputs(self) -> str:
        """Fingerprint of what its result rests on."""
        return data_hash([nnstudent.__version__, self.settings, fingerprint(self.reads())])


@dataclass(frozen=True)
class StageRecord:
    """What became of a stage; a row of ``run.json``.

    Attributes:
        name: Its name.
        state: ``done``; ``failed``; ``skipped`` (nothing to work on, or a stage before it failed); ``left`` (not run yet).
        seconds: Time spent on it for these inputs, over all calls.
        peak_rss_mb: Largest resident memory of the process tree, in MiB.
        detail: One line for people.
        failures: The cases that failed.
        fresh: Whether this call had nothing to do, as an earlier one had done it.
        inputs: Fingerprint of what it was made from.
        outputs: Fingerprint of what it made.
    """

    name: str
    state: State
    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    detail: str = ""
    failures: tuple[Failure, ...] = field(default=())
    fresh: bool = False
    inputs: str = ""
    outputs: str = ""


def read_records(path: Path) -> dict[str, StageRecord]:
    """Read ``run.json``; empty where there is none, or it is of another schema: then every stage looks for itself."""
    data = read_state(path, what="a run")
    try:
        if data is None or data["schema"] != SCHEMA:
            return {}
        rows = [
            dict(row, failures=tuple(Failure(**item) for item in row["failures"]), fresh=False)
            for row in data["stages"]
        ]
        return {row["name"]: StageRecord(**row) for row in rows}
    except (KeyError, TypeError, ValueError, AttributeError):
        log.warning("%s: not readable as a run; every stage looks for itself what is done", path)
        return {}


def left(stages: Sequence[Stage], path: Path) -> tuple[StageRecord, ...]:
    """What a call would do: each stage ``done`` or ``left``. One that needs or reads from a stage that is left is left as well.

    Args:
        stages: The stages in order.
        path: ``run.json``.
    """
    records = read_records(path)
    rows: list[StageRecord] = []
    open_: set[str] = set()
    coming: list[Path] = []
    for stage in stages:
        old = records.get(stage.name)
        waits = (
            bool(open_.intersection(stage.needs))
            or (stage.sums_up and bool(open_))
            or _overlap(stage.reads(), coming)
        )
        if old is not None and not waits and _is_fresh(stage, old):
            rows.append(replace(old, fresh=True))
        else:
            open_.add(stage.name)
            coming += stage.writes
            rows.append(
                StageRecord(
                    stage.name,
                    "left",
                    detail="" if old is None or old.state == "done" else old.detail,
                )
            )
    return tuple(rows)


def run_stages(
    stages: Sequence[Stage],
    path: Path,
    *,
    about: Mapping[str, Any],
    tell: Callable[[StageRecord | None, Stage, int, int], None],
) -> tuple[StageRecord, ...]:
    """Run the stages in order, and record after each what became of it.

    A stage whose inputs and outputs are as it left them is not called. One that fails keeps what it has made; those that need
    it are skipped, all others run.

    Args:
        stages: The stages in order.
        path: Where the record is, ``run.json``.
        about: What else to write into the record.
        tell: Called before a stage starts, with None, and when it has ended, with its record; then its number and how many.
    """
    old = read_records(path)
    rows: dict[str, StageRecord] = {}
    for number, stage in enumerate(stages, 1):
        before = old.get(stage.name)
        missing = [
            name
            for name in stage.needs
            if rows[name].state == "failed"
            or (rows[name].state == "skipped" and not rows[name].outputs)
        ]
        if missing:
            row = StageRecord(
                stage.name, "skipped", detail=f"needs {' and '.join(missing)}, which is not done"
            )
        elif (
            before is not None
            and (not stage.sums_up or all(row.fresh for row in rows.values()))
            and _is_fresh(stage, before)
        ):
            row = replace(before, fresh=True)
        else:
            tell(None, stage, number, len(stages))
            row = _run(stage, before)
        rows[stage.name] = row
        kept = {
            name: item for name, item in old.items() if name not in rows
        }  # later stages, until their turn comes
        _write(path, about, [*rows.values(), *kept.values()])
        tell(row, stage, number, len(stages))
    _write(path, about, list(rows.values()))
    return tuple(rows.values())


def _is_fresh(stage: Stage, old: StageRecord) -> bool:
    # A stage in which cases failed is called again: it does what is missing, and what failed may work by now.
    usable = old.state == "done" or (old.state == "skipped" and old.outputs != "")
    return (
        usable
        and not old.failures
        and old.inputs == stage.inputs()
        and old.outputs == fingerprint(stage.writes)
    )


def _overlap(reads: Sequence[Path], coming: Sequence[Path]) -> bool:
    return any(
        read.is_relative_to(path) or path.is_relative_to(read) for read in reads for path in coming
    )


def _run(stage: Stage, before: StageRecord | None) -> StageRecord:
    inputs = stage.inputs()
    same = before is not None and before.inputs == inputs
    with Meter() as meter:
        try:
            outcome: Outcome | None = stage.work()
            reason = ""
        except (NnStudentError, OSError, MemoryError) as error:
            outcome, reason = None, one_line(error)
        except (
            Exception
        ) as error:  # whatever breaks in one stage must not take down the report of the others
            log.debug("stage %s", stage.name, exc_info=True)
            outcome, reason = (
                None,
                f"{one_line(error)}; run it again with --debug for the traceback",
            )
    row = StageRecord(
        stage.name,
        "failed" if outcome is None else "skipped" if outcome.skipped else "done",
        seconds=round(meter.seconds + (before.seconds if same and before else 0.0), 2),
        peak_rss_mb=round(
            max(meter.peak_rss_mb, before.peak_rss_mb if same and before else 0.0), 1
        ),
        detail=reason if outcome is None else outcome.detail,
        failures=() if outcome is None else tuple(outcome.failures),
        inputs=inputs,
    )
    return row if outcome is None else replace(row, outputs=fingerprint(stage.writes))


def _write(path: Path, about: Mapping[str, Any], rows: Sequence[StageRecord]) -> None:
    table = [{key: value for key, value in asdict(row).items() if key != "fresh"} for row in rows]
    write_json(path, {"schema": SCHEMA, "version": nnstudent.__version__, **about, "stages": table})
