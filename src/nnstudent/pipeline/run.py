"""``run``: the whole path, from a source of scans to a student, its scores and a report."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nnstudent.cohort.sources.dispatch import read_source
from nnstudent.errors import Failure, InputError
from nnstudent.io.lock import writing
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.preset import load_preset
from nnstudent.pipeline.stages import Stage, StageRecord, left, run_stages
from nnstudent.pipeline.steps import stages
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy

Tell = Callable[[StageRecord | None, Stage, int, int], None]


@dataclass(frozen=True)
class RunResult:
    """What became of a run.

    Attributes:
        stages: What became of each stage, in order.
        report: The report, or None if there is none.
        notices: What a reader of the results should know, a line each.
        student: nnU-Net folder of the last round's student, or None if there is none.
    """

    stages: tuple[StageRecord, ...]
    report: Path | None
    notices: tuple[str, ...] = ()
    student: Path | None = None

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The cases, and the stages, that failed."""
        rows: list[Failure] = []
        for stage in self.stages:
            rows.extend(
                Failure(f"{stage.name}: {item.case}", item.reason) for item in stage.failures
            )
            if stage.state == "failed":
                rows.append(Failure(stage.name, stage.detail))
        return tuple(rows)

    @property
    def exit_code(self) -> int:
        """What the command exits with: the worst of what the stages, called by themselves, would have."""
        return (
            2
            if any(stage.state == "failed" for stage in self.stages)
            else 1
            if self.failures
            else 0
        )


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
    dry_run: bool = False,
    progress: Progress = silent,
    tell: Tell | None = None,
) -> RunResult:
    """Go the whole path, or on where an earlier call ended.

    Args:
        source: What :func:`nnstudent.cohort.index.index` reads: a folder of scans, a list, or an indexed cohort.
        out: The run's folder: ``cohort``, ``teachers``, ``pseudo``, ``fused``, ``student``, ``second`` (of a cascade), ``bundle``,
            ``predictions``, ``scores``, ``report.html`` and ``run.json``, which says what each stage did, how long it took and how
            much memory.
        preset: Name of a preset, or a TOML file.
        taxonomy: The label table; None for the one that the source brings.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Processor threads; None for all there are.
        rounds: Rounds of labelling at most: after the first the student of the round before is the teacher, and all is in ``round2``,
            ``round3``, …; bundle, predictions, scores and report are of the last. None is begun once the labels hardly change.
        baseline: Also train the student's network on the fully labeled cases alone, to see what the pseudo-labels bring.
        dry_run: Only say what is left to do.
        progress: Told how far a stage is.
        tell: Told when a stage begins (with None) and ends.

    Raises:
        InputError: The source or preset does not exist or is of no known kind.
        OutputError: ``out`` cannot be written, or another call writes into it.
    """
    read_source(source, taxonomy=taxonomy)  # what is wrong with it is known before a folder is made
    if threads is not None and threads < 1:
        raise InputError(f"{threads} threads; expected at least 1")
    if rounds < 1:
        raise InputError(f"{rounds} rounds; expected at least 1")
    folder = RunFolder(
        source,
        out,
        load_preset(preset),
        taxonomy=taxonomy,
        device=device,
        threads=threads,
        round_count=rounds,
        baseline=baseline,
        progress=progress,
    )
    record = out / "run.json"
    if dry_run:
        return RunResult(left(stages(folder), record), _there(out / "report.html"))
    about = {
        "source": os.path.abspath(source),
        "preset": folder.preset.name,
        "rounds": rounds,
        "device": device,
        "recipes": folder.preset.to_dict(),
    }
    with writing(out):
        rows = run_stages(stages(folder), record, about=about, tell=tell or (lambda *_: None))
    return RunResult(
        rows, _there(out / "report.html"), tuple(folder.notices), _there(folder.student)
    )


def _there(path: Path) -> Path | None:
    return path if path.exists() else None


def summary(rows: Sequence[StageRecord]) -> list[str]:
    """A table of what each stage did, a line each."""
    words = {"done": "done", "failed": "FAILED", "skipped": "skipped", "left": "left"}
    lines = []
    for row in rows:
        state = "kept" if row.fresh and row.state == "done" else words[row.state]
        cost = f"{row.seconds:8.1f} s {row.peak_rss_mb:7.0f} MB" if row.seconds else " " * 21
        lines.append(f"{row.name:<9} {state:<8} {cost}  {row.detail}")
    return lines


def to_dict(result: RunResult) -> dict[str, object]:
    """As plain data, for ``--report``."""
    return {
        "stages": [asdict(row) for row in result.stages],
        "notices": list(result.notices),
        "student": None if result.student is None else str(result.student),
        "report": None if result.report is None else str(result.report),
        "failed": [asdict(item) for item in result.failures],
    }
