"""Stages in order: what each needs, what it did, what is left.

This module does not know what a stage does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import nnstudent
from nnstudent.errors import Failure, NnStudentError, one_line
from nnstudent.io.atomic import write_json
from nnstudent.io.record import data_hash, read_state
from nnstudent.pipeline.fingerprint import fingerprint
from nnstudent.pipeline.meter import Meter

log = logging.getLogger(__name__)

State = Literal["done", "failed", "skipped", "left"]
Load = Literal["train", "label", "segment", "light"]
SCHEMA = 1


@dataclass(frozen=True)
class Outcome:
    """What a stage returns.

    Attributes:
        detail: One line for people.
        failures: The cases that failed while the others were done.
        skipped: Whether there was nothing to work on, as ``detail`` says.
        facts: Of a piece, what its stage needs of it to merge the pieces, as plain data.
    """

    detail: str
    failures: Sequence[Failure] = ()
    skipped: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """A piece of a stage that a machine of its own can do, beside the others.

    Attributes:
        name: Its name, such as ``organs-0`` or ``2-of-8``.
        work: Does it, only what is missing.
        after: The piece of the same stage that it follows; empty if there is none.
        load: What kind of machine it needs; None for that of its stage.
    """

    name: str
    work: Callable[[], Outcome]
    after: str = ""
    load: Load | None = None


@dataclass(frozen=True)
class Stage:
    """One step of the path.

    Attributes:
        name: Its name.
        work: Does the work, only what is missing.
        needs: The stages without which it cannot start.
        reads: Returns the files and folders that it reads. Called when its turn comes, because
            earlier stages decide what there is.
        writes: Files and folders that it writes.
        settings: Plain data that decides its result.
        summarizes: Whether it reports on all other stages, and so runs again whenever one of them
            has run.
        load: What kind of machine it needs; see :class:`~nnstudent.pipeline.resources.Resources`.
        pieces: What it can be cut into; empty if it cannot be cut.
        merge: Makes the stage's outcome of those of its pieces, in order; a cheap step. What
            ``work`` does is the same as all pieces and this.
    """

    name: str
    work: Callable[[], Outcome]
    needs: Sequence[str]
    reads: Callable[[], Sequence[Path]]
    writes: Sequence[Path]
    settings: Any = None
    summarizes: bool = False
    load: Load = "light"
    pieces: Sequence[Piece] = ()
    merge: Callable[[Sequence[Outcome]], Outcome] | None = None

    def inputs(self) -> str:
        """Return the fingerprint of what its result depends on."""
        return data_hash([nnstudent.__version__, self.settings, fingerprint(self.reads())])


@dataclass(frozen=True)
class StageRecord:
    """The record of a stage; a row of ``run.json``.

    Attributes:
        name: Its name.
        state: ``done``; ``failed``; ``skipped`` (nothing to work on, or a stage before it failed);
            ``left`` (not run yet).
        seconds: Time spent on it for these inputs, over all calls.
        peak_rss_mb: Largest resident memory of the process tree, in MiB.
        detail: One line for people.
        failures: The cases that failed.
        fresh: Whether this call had nothing to do because an earlier one had done it.
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


class Listener(Protocol):
    """Called when a stage begins and when it has ended."""

    def __call__(
        self, stage: Stage, record: StageRecord | None, *, number: int, total: int
    ) -> None:
        """Note that stage ``number`` of ``total`` begins (``record`` is None) or has ended."""


def silent_listener(stage: Stage, record: StageRecord | None, *, number: int, total: int) -> None:
    """Do nothing; the default of library calls."""


def read_records(path: Path) -> dict[str, StageRecord]:
    """Read ``run.json``.

    Returns:
        The records by stage; empty if there is no file or it has another schema. Every stage then
        finds out by itself what is done.
    """
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
        log.warning("%s: not readable as a run; every stage checks by itself what is done", path)
        return {}


def followed(stages: Sequence[Stage]) -> dict[str, tuple[str, ...]]:
    """Return for each stage those that have to end before it begins, in order.

    They are the stages that it needs, those that write what it reads, and all if it summarizes.
    """
    before: list[Stage] = []
    found: dict[str, tuple[str, ...]] = {}
    for stage in stages:
        reads = stage.reads()
        found[stage.name] = tuple(
            other.name
            for other in before
            if stage.summarizes or other.name in stage.needs or _overlap(reads, other.writes)
        )
        before.append(stage)
    return found


def lacking(stage: Stage, rows: Mapping[str, StageRecord]) -> list[str]:
    """Return the stages that a stage needs and that failed or have made nothing.

    Args:
        stage: The stage.
        rows: The records of the stages before it.
    """
    return [
        name
        for name in stage.needs
        if rows[name].state == "failed"
        or (rows[name].state == "skipped" and not rows[name].outputs)
    ]


def passed_over(stage: Stage, missing: Sequence[str]) -> StageRecord:
    """Return the record of a stage that cannot run without these others."""
    detail = f"needs {' and '.join(missing)}, which is not done"
    return StageRecord(stage.name, "skipped", detail=detail)


def remaining(stages: Sequence[Stage], path: Path) -> tuple[StageRecord, ...]:
    """Return what a call would do: each stage is ``done`` or ``left``.

    A stage that needs or reads from a stage that is left is left as well.

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
            or (stage.summarizes and bool(open_))
            or _overlap(stage.reads(), coming)
        )
        if old is not None and not waits and _is_fresh(stage, old):
            rows.append(replace(old, fresh=True))
        else:
            open_.add(stage.name)
            coming += stage.writes
            detail = "" if old is None or old.state == "done" else old.detail
            rows.append(StageRecord(stage.name, "left", detail=detail))
    return tuple(rows)


def run_stages(
    stages: Sequence[Stage],
    path: Path,
    *,
    about: Mapping[str, Any],
    listener: Listener = silent_listener,
) -> tuple[StageRecord, ...]:
    """Run the stages in order and write the record after each.

    A stage whose inputs and outputs are as it left them is not called. A stage that fails keeps
    what it has made; those that need it are skipped, and all others run.

    Args:
        stages: The stages in order.
        path: The record, ``run.json``.
        about: What else to write into the record.
        listener: Called when a stage begins and when it has ended.
    """
    old = read_records(path)
    rows: dict[str, StageRecord] = {}
    for number, stage in enumerate(stages, 1):
        before = old.get(stage.name)
        missing = lacking(stage, rows)
        if missing:
            row = passed_over(stage, missing)
        elif (
            before is not None
            and (not stage.summarizes or all(row.fresh for row in rows.values()))
            and _is_fresh(stage, before)
        ):
            row = replace(before, fresh=True)
        else:
            listener(stage, None, number=number, total=len(stages))
            row = run_stage(stage, before)
        rows[stage.name] = row
        # The old records of later stages are kept until their turn comes.
        kept = [item for name, item in old.items() if name not in rows]
        write_records(path, [*rows.values(), *kept], about=about)
        listener(stage, row, number=number, total=len(stages))
    write_records(path, list(rows.values()), about=about)
    return tuple(rows.values())


def _is_fresh(stage: Stage, old: StageRecord) -> bool:
    # A stage in which cases failed is called again: it does what is missing, and what failed may
    # work by now.
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


def run_stage(
    stage: Stage,
    before: StageRecord | None,
    *,
    work: Callable[[], Outcome] | None = None,
    retried: bool = False,
) -> StageRecord:
    """Do the work of a stage and return its record.

    Args:
        stage: The stage.
        before: Its record of an earlier call.
        work: What to do; None for the whole stage.
        retried: Whether the caller tries again after an error that is not the user's. It is raised
            then, and recorded otherwise.
    """
    inputs = stage.inputs()
    same = before is not None and before.inputs == inputs
    with Meter() as meter:
        try:
            outcome: Outcome | None = (work or stage.work)()
            reason = ""
        except NnStudentError as error:
            outcome, reason = None, one_line(error)
        except Exception as error:  # the report of the other stages must still be made
            if retried:
                raise
            log.debug("stage %s", stage.name, exc_info=True)
            outcome = None
            reason = one_line(error)
            if not isinstance(error, OSError | MemoryError):
                reason += "; run it again with --debug for the traceback"
    seconds, peak = meter.seconds, meter.peak_rss_mb
    if same and before is not None:
        seconds, peak = seconds + before.seconds, max(peak, before.peak_rss_mb)
    row = StageRecord(
        stage.name, "failed", round(seconds, 2), round(peak, 1), detail=reason, inputs=inputs
    )
    if outcome is None:
        return row
    return replace(
        row,
        state="skipped" if outcome.skipped else "done",
        detail=outcome.detail,
        failures=tuple(outcome.failures),
        outputs=fingerprint(stage.writes),
    )


def write_records(path: Path, rows: Sequence[StageRecord], *, about: Mapping[str, Any]) -> None:
    """Write ``run.json``.

    Args:
        path: The file.
        rows: The records.
        about: What else to write into it.
    """
    table = [{key: value for key, value in asdict(row).items() if key != "fresh"} for row in rows]
    write_json(path, {"schema": SCHEMA, "version": nnstudent.__version__, **about, "stages": table})
