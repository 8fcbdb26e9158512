"""Accuracy against seconds a case, of several networks and grids, on synthetic patients.

  python -m bench.students --cost                   parameters, operations and seconds of a window
  python -m bench.students --minutes 30             trains, segments and scores; hours
  python -m bench.students --minutes 30 --max-minutes 60
  python -m bench.students --minutes 30 --only strided_stem

The candidates learn from 24 scans with all classes labeled and are scored on 16 separate ones, all
of the size of clinical scans: on the small phantoms of 5×4×4 mm a finer grid has no advantage.
Every candidate learns as preset laptop's student does, for as many steps as fit into the given
time, which is measured once for each candidate. A killed call loses a minute or two; the next call
resumes there. Each finished candidate becomes a row of docs/results/students.json at once, and the
picture is redrawn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from bench.common import (
    ROOT,
    add_row,
    add_row_options,
    commit,
    export_once,
    machine,
    organ_means,
    phantom_cohort,
    read_rows,
    resumable,
    score_test_cases,
)
from bench.students_table import draw, frontier, newest, render
from nnstudent.cohort.cohort import Cohort
from nnstudent.data_files import read_json
from nnstudent.errors import InputError
from nnstudent.inference.calibration import sample_cohort
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.atomic import write_json
from nnstudent.io.record import data_hash, file_hash, is_made_from, write_record
from nnstudent.machine import cores
from nnstudent.phantom import LabelProfile
from nnstudent.pipeline.preset import Preset, load_preset
from nnstudent.progress import Progress, silent
from nnstudent.training.design.describe import count
from nnstudent.training.design.search import networks
from nnstudent.training.design.speed import CLASSES, window_seconds
from nnstudent.training.recipe import Network, Recipe
from nnstudent.training.study import study

__all__ = ["Bench", "Candidate", "cost", "draw", "frontier", "newest", "render", "run"]

ROWS, PICTURE = (
    ROOT / "docs" / "results" / "students.json",
    ROOT / "docs" / "images" / "students.png",
)
COUNTS: Mapping[LabelProfile, int] = {"full": 24, "test": 16}
EPOCHS = 20
MIDDLE, PATCH = (4.0, 2.5, 2.5), (48, 96, 160)  # 192 × 240 × 400 mm


@dataclass(frozen=True)
class Candidate:
    """One student.

    Attributes:
        name: Its name.
        network: The network.
        spacing_mm: Spacing of its grid, (z, y, x).
        patch: Voxels of a window, (z, y, x).
        precision: The precision in which it segments.
        of: The candidate whose training it shares, for a candidate in int8.
    """

    name: str
    network: Network
    spacing_mm: tuple[float, float, float] = MIDDLE
    patch: tuple[int, int, int] = PATCH
    precision: str = "fp32"
    of: str | None = None

    def recipe(self, preset: Preset) -> Recipe:
        """The preset's student with this network and grid."""
        data = replace(preset.student.data, spacing_mm=self.spacing_mm, patch=self.patch)
        return replace(preset.student, network=self.network, data=data)


NETWORKS = networks()
TRAINED = (
    Candidate("plain", NETWORKS["plain 16"]),
    Candidate("thin", NETWORKS["plain 8"]),
    Candidate("separable", NETWORKS["separable 16"]),
    Candidate("separable, wide", NETWORKS["separable 32"]),
    Candidate("strided_stem", NETWORKS["strided_stem 16"]),
    Candidate("strided_stem, finer", NETWORKS["strided_stem 16"], (3.0, 2.0, 2.0), (64, 128, 208)),
    Candidate("coarse", NETWORKS["plain 16"], (5.0, 4.0, 4.0), (48, 64, 96)),
    Candidate("coarse, wide", NETWORKS["plain 24"], (5.0, 4.0, 4.0), (48, 64, 96)),
)
QUANTISED = tuple(
    replace(candidate, name=f"{candidate.name}, int8", precision="int8", of=candidate.name)
    for candidate in TRAINED
    if candidate.name in ("plain", "strided_stem", "coarse")
)
CANDIDATES = (*TRAINED, *QUANTISED)


@dataclass(frozen=True)
class Bench:
    """The pieces that rows are made from; each is a folder in ``work`` that is made once.

    Attributes:
        work: The folder.
        preset: The preset whose student's training is used.
        minutes: Time that each candidate learns.
        counts: Number of cases of each kind.
        phantoms: Preset of the phantoms.
        threads: CPU threads.
        progress: Called as a piece advances.
    """

    work: Path
    preset: Preset
    minutes: float
    counts: Mapping[LabelProfile, int] = field(default_factory=lambda: dict(COUNTS))
    phantoms: str = "standard"
    threads: int | None = None
    progress: Progress = silent

    @cached_property
    def cohort(self) -> Cohort:
        """The scans, made once."""
        return phantom_cohort(
            self.work / "cohort", self.counts, preset=self.phantoms, progress=self.progress
        )

    @cached_property
    def cohort_hash(self) -> str:
        """Hash of all scans and labels."""
        return data_hash(
            [
                [case.id, case.role, file_hash(case.image), case.label and file_hash(case.label)]
                for case in self.cohort
            ]
        )

    def steps(self, candidate: Candidate) -> int:
        """The number of steps in the given time, measured once on a few steps after the first."""
        kept = self.work / "steps" / f"{_stem(candidate)}.json"
        recipe = candidate.recipe(self.preset)
        made_from = data_hash([recipe.to_dict(), self.cohort_hash])
        if not is_made_from(kept, made_from):
            few = replace(
                recipe,
                training=replace(recipe.training, epochs=2, iterations=8, validation_batches=1),
            )
            model = self._trained(few, self.work / "steps" / _stem(candidate))
            progress = json.loads((model / "fold_0" / "progress.json").read_text("utf-8"))
            write_record(
                kept, stage="steps", made_from=made_from, seconds=progress["seconds"][-1] / 8
            )
        seconds = float(read_json(kept, what="seconds of a step")["seconds"])
        return max(EPOCHS, round(60 * self.minutes / seconds))

    def row(self, candidate: Candidate) -> dict[str, Any]:
        """What identifies a row; one that agrees in all of it is not made again."""
        return {
            "candidate": candidate.name,
            "minutes": self.minutes,
            "cohort_hash": self.cohort_hash,
            "recipe_hash": data_hash(
                [candidate.recipe(self.preset).to_dict(), candidate.precision]
            ),
        }

    def scored(self, candidate: Candidate) -> dict[str, Any]:
        """The row of a candidate: trained, exported, the test cases segmented and scored."""
        learner = next((other for other in CANDIDATES if other.name == candidate.of), candidate)
        recipe, steps = learner.recipe(self.preset), self.steps(learner)
        training = replace(recipe.training, epochs=EPOCHS, iterations=max(1, round(steps / EPOCHS)))
        model = self._trained(
            replace(recipe, training=training),
            self.work / "students" / f"{_stem(learner)}-{self.minutes:g}",
        )
        name = f"{_stem(candidate)}-{self.minutes:g}"
        bundle = export_once(
            [model],
            self.work / "bundles" / name,
            record=(self.work / "bundles" / name).with_suffix(".json"),
            int8=partial(sample_cohort, self.cohort) if candidate.precision == "int8" else None,
            progress=self.progress,
        )
        scores, timings = score_test_cases(
            self.cohort,
            Segmenter(bundle, threads=self.threads, precision=candidate.precision),
            self.work / "predictions" / name,
            name=candidate.name,
            progress=self.progress,
        )
        parameters, gflop = count(candidate.network, candidate.patch, classes=len(CLASSES))
        return {
            **self.row(candidate),
            "commit": commit(),
            **organ_means(scores),
            "seconds_per_case": round(
                statistics.median(seconds["total"] for seconds in timings), 3
            ),
            "network_seconds": round(
                statistics.median(seconds["network"] for seconds in timings), 3
            ),
            "steps": EPOCHS * training.iterations,
            "parameters": parameters,
            "gflop": round(gflop, 1),
            "threads": self.threads or cores(),
            "machine": machine(),
        }

    def _trained(self, recipe: Recipe, out: Path) -> Path:
        return study(
            self.work / "cohort",
            out,
            recipe,
            device="cpu",
            threads=self.threads,
            progress=self.progress,
        )


def run(bench: Bench, rows: Path, picture: Path | None, *, only: Sequence[str] = ()) -> None:
    """Make every missing row; a student that loses too much in int8 is reported and skipped."""
    for candidate in CANDIDATES:
        mark = bench.row(candidate)
        if (only and candidate.name not in only) or any(
            mark.items() <= row.items() for row in read_rows(rows)
        ):
            continue
        print(f"{candidate.name}: {bench.minutes:g} minutes", flush=True)
        try:
            add_row(rows, bench.scored(candidate))
        except InputError as error:
            if candidate.precision != "int8":
                raise
            print(f"{candidate.name}: {error}", flush=True)
            continue
        if picture is not None:
            draw(newest(read_rows(rows)), picture)


def cost(
    candidates: Sequence[Candidate], *, threads: int, repeats: int = 3
) -> list[dict[str, Any]]:
    """Measure and print what a window of each untrained candidate costs in fp32."""
    print(
        "| student | mm (z, y, x) | window | parameters | GFLOP | s a window "
        "| s a million voxels | GFLOP/s |\n|---|" + "---|" * 7,
        flush=True,
    )
    rows = []
    for candidate in candidates:
        if candidate.of is not None:
            continue
        parameters, gflop = count(candidate.network, candidate.patch, classes=len(CLASSES))
        seconds = window_seconds(
            candidate.network, candidate.patch, threads=threads, repeats=repeats
        )
        z, y, x = candidate.patch
        row = {
            "candidate": candidate.name,
            "parameters": parameters,
            "gflop": gflop,
            "window_seconds": seconds,
            "patch": [z, y, x],
        }
        rows.append(row)
        size, mm = (
            "×".join(f"{value:g}" for value in values)
            for values in (candidate.patch, candidate.spacing_mm)
        )
        print(
            f"| {candidate.name} | {mm} | {size} | {parameters:,} | {gflop:.1f} | {seconds:.2f} "
            f"| {seconds / (z * y * x) * 1e6:.2f} | {gflop / seconds:.0f} |",
            flush=True,
        )
    return rows


def _stem(candidate: Candidate) -> str:
    return candidate.name.replace(", ", "-")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cost", action="store_true", help="only what a window costs; trains nothing"
    )
    parser.add_argument(
        "--minutes", type=float, default=30, help="training of each candidate (default: 30)"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=[candidate.name for candidate in CANDIDATES],
        help="may be repeated",
    )
    parser.add_argument(
        "--preset", default="laptop", help="the preset whose student learns (default: laptop)"
    )
    add_row_options(parser, rows=ROWS, work=ROOT / "runs" / "students")
    args = parser.parse_args()
    if args.cost:
        chosen = [
            candidate for candidate in CANDIDATES if not args.only or candidate.name in args.only
        ]
        costs = cost(chosen, threads=args.threads or cores())
        if args.json != ROWS:
            write_json(args.json, costs)
        return 0

    def make_rows(progress: Progress) -> None:
        bench = Bench(
            args.work,
            load_preset(args.preset),
            args.minutes,
            threads=args.threads,
            progress=progress,
        )
        picture = PICTURE if args.json == ROWS else args.json.with_suffix(".png")
        run(bench, args.json, picture, only=args.only)

    code = resumable("students", args.work, make_rows, minutes=args.max_minutes)
    if read_rows(args.json):
        print(render(newest(read_rows(args.json))))
    return code


if __name__ == "__main__":
    sys.exit(main())
