"""Which student: accuracy against seconds a case, of several networks and grids that learned for the same time, on synthetic patients.

  python -m bench.students --cost                   parameters, operations and a window's seconds, of networks that learned nothing
  python -m bench.students --minutes 30             trains, segments and scores; hours
  python -m bench.students --minutes 30 --max-minutes 60
  python -m bench.students --minutes 30 --only strided_stem

24 scans with all classes labeled to learn from, 16 test scans apart, as of a clinic: on the small phantoms of 5×4×4 mm a finer grid has
nothing to gain. Every candidate learns as preset laptop's student does, for as many steps as it makes in the given time, which is
measured for each before the first and kept. A killed call loses a minute or two; the next goes on there.
Each finished candidate is a row of docs/results/students.json at once, and the picture is drawn anew."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from bench.common import (
    ROOT,
    OutOfTime,
    add_row,
    commit,
    organ_means,
    phantom_cohort,
    read_rows,
    within,
)
from nnstudent.bundle.export import export
from nnstudent.cli.common import Display
from nnstudent.cohort.cohort import Cohort
from nnstudent.data_files import read_json
from nnstudent.errors import InputError, NnStudentError
from nnstudent.evaluation.evaluate import evaluate
from nnstudent.inference.calibration import sample_cohort
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.atomic import replacing, write_json
from nnstudent.io.lock import writing
from nnstudent.io.record import data_hash, file_hash, is_made_from, write_record
from nnstudent.machine import cores
from nnstudent.phantom import LabelProfile
from nnstudent.pipeline.predict import predict
from nnstudent.pipeline.preset import Preset, load_preset
from nnstudent.progress import Progress, silent
from nnstudent.training.design.describe import count
from nnstudent.training.design.search import networks
from nnstudent.training.design.speed import CLASSES, window_seconds
from nnstudent.training.recipe import Network, Recipe
from nnstudent.training.study import study

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
        spacing_mm: Its grid, (z, y, x).
        patch: Voxels of a window, (z, y, x).
        precision: What it is segmented with; int8 is the same training as the candidate ``of``.
        of: The candidate whose training it shares.
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
    """The pieces, each a folder in ``work`` that goes on where it was and does nothing where it is done.

    Attributes:
        work: The folder.
        preset: How a student learns.
        minutes: For how long.
        counts: The cohort.
        phantoms: Preset of the phantoms.
        threads: Processor threads.
        progress: Told how far a piece is.
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
        """Of all scans and labels."""
        return data_hash(
            [
                [case.id, case.role, file_hash(case.image), case.label and file_hash(case.label)]
                for case in self.cohort
            ]
        )

    def steps(self, candidate: Candidate) -> int:
        """How many steps it makes in the time: measured on a few, the first ones left out, and kept."""
        kept = self.work / "steps" / f"{_stem(candidate)}.json"
        recipe = candidate.recipe(self.preset)
        made_from = data_hash([recipe.to_dict(), self.cohort_hash])
        if not is_made_from(kept, made_from):
            few = replace(
                recipe,
                training=replace(recipe.training, epochs=2, iterations=8, validation_batches=1),
            )
            model = self._trained(few, self.work / "steps" / _stem(candidate))
            seconds = (
                json.loads((model / "fold_0" / "progress.json").read_text("utf-8"))["seconds"][-1]
                / 8
            )
            write_record(kept, stage="steps", made_from=made_from, seconds=seconds)
        seconds = float(read_json(kept, what="seconds of a step")["seconds"])
        return max(EPOCHS, round(60 * self.minutes / seconds))

    def row(self, candidate: Candidate) -> dict[str, Any]:
        """What identifies a row: one that agrees in all of it need not be made again."""
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
        bundle, out = (
            self.work / what / f"{_stem(candidate)}-{self.minutes:g}"
            for what in ("bundles", "predictions")
        )
        record, made_from = (
            bundle.with_suffix(".json"),
            file_hash(model / "fold_0" / "checkpoint_final.pth"),
        )
        if not is_made_from(record, made_from):
            int8 = partial(sample_cohort, self.cohort) if candidate.precision == "int8" else None
            export(model, bundle, torch_weights=False, int8=int8, progress=self.progress)
            write_record(record, stage="export", made_from=made_from)
        test = self.cohort.test()
        failures = predict(
            test,
            Segmenter(bundle, threads=self.threads, precision=candidate.precision),
            out=out,
            progress=self.progress,
        )
        scores = evaluate(out, self.cohort, subset="test", progress=self.progress)
        if failures or scores.failures:
            raise InputError(
                f"{candidate.name}: {[*failures, *scores.failures][0]}; every test case must be scored, call again"
            )
        told = [
            json.loads((out / f"{case.id}.json").read_text("utf-8"))["seconds"] for case in test
        ]
        parameters, gflop = count(candidate.network, candidate.patch, classes=len(CLASSES))
        return {
            **self.row(candidate),
            "commit": commit(),
            **organ_means(scores),
            "seconds_per_case": round(statistics.median(seconds["total"] for seconds in told), 3),
            "network_seconds": round(statistics.median(seconds["network"] for seconds in told), 3),
            "steps": EPOCHS * training.iterations,
            "parameters": parameters,
            "gflop": round(gflop, 1),
            "threads": self.threads or cores(),
            "machine": f"{cores()} cores, {platform.machine()}",
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
    """Make every row that is not there; a student that cannot be had in int8 is told and passed over."""
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


def newest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of the last one's cohort; of a candidate and its time to learn the last."""
    return list(
        {
            (row["candidate"], row["minutes"]): row
            for row in rows
            if row["cohort_hash"] == rows[-1]["cohort_hash"]
        }.values()
    )


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table, Markdown; of each time to learn the quickest first."""
    head = [
        "| minutes | student | organ DSC | organ NSD | s a case | of it network | steps | parameters | GFLOP |",
        "|---|" + "---|" * 8,
    ]
    body = [
        f"| {row['minutes']:g} | {row['candidate']} | {100 * row['organ_dsc']:.1f} | {100 * row['organ_nsd']:.1f} | "
        f"{row['seconds_per_case']:.2f} | {row['network_seconds']:.2f} | {row['steps']:,} | {row['parameters']:,} | {row['gflop']:.0f} |"
        for row in sorted(rows, key=lambda row: (row["minutes"], row["seconds_per_case"]))
    ]
    return "\n".join([*head, *body])


def frontier(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that no other beats in both seconds and DSC, the quickest first."""
    best: list[Mapping[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row["seconds_per_case"], -row["organ_dsc"])):
        if not best or row["organ_dsc"] > best[-1]["organ_dsc"]:
            best.append(row)
    return best


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """DSC against seconds a case, and a line through the frontier of those that learned for the same time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for minutes in sorted({row["minutes"] for row in rows}):
        group = [row for row in rows if row["minutes"] == minutes]
        line = frontier(group)
        at = {row["candidate"]: (row["seconds_per_case"], 100 * row["organ_dsc"]) for row in group}
        (drawn,) = axes.plot(
            *zip(*(at[row["candidate"]] for row in line), strict=True),
            "o-",
            linewidth=1,
            label=f"{minutes:g} min",
        )
        for row in group:
            if row not in line:
                axes.plot(*at[row["candidate"]], "o", color=drawn.get_color(), alpha=0.35)
            axes.annotate(
                row["candidate"],
                at[row["candidate"]],
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=8,
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.margins(x=0.2, y=0.1)
    axes.set_xlabel(f"seconds a case (processor threads: {rows[-1]['threads']})")
    axes.set_ylabel("mean organ DSC × 100")
    axes.legend(title="training of each", fontsize=8, title_fontsize=8)
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})


def cost(
    candidates: Sequence[Candidate], *, threads: int, repeats: int = 3
) -> list[dict[str, Any]]:
    """What a window of each candidate costs, untrained, in fp32; printed as it is found."""
    print(
        "| student | mm (z, y, x) | window | parameters | GFLOP | s a window | s a million voxels | GFLOP/s |\n|---|"
        + "---|" * 7,
        flush=True,
    )
    found = []
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
        found.append(row)
        size, mm = (
            "×".join(f"{value:g}" for value in values)
            for values in (candidate.patch, candidate.spacing_mm)
        )
        print(
            f"| {candidate.name} | {mm} | {size} | {parameters:,} | {gflop:.1f} | {seconds:.2f} | {seconds / (z * y * x) * 1e6:.2f} | "
            f"{gflop / seconds:.0f} |",
            flush=True,
        )
    return found


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
        "--json",
        type=Path,
        default=None,
        metavar="FILE",
        help="the rows (default: docs/results/students.json)",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / "runs" / "students",
        help="folder of all that is made on the way",
    )
    parser.add_argument(
        "--preset", default="laptop", help="how its student learns (default: laptop)"
    )
    parser.add_argument(
        "--max-minutes",
        type=float,
        metavar="M",
        help="stop after so long, to go on with the next call",
    )
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    args = parser.parse_args()
    if args.cost:
        chosen = [
            candidate for candidate in CANDIDATES if not args.only or candidate.name in args.only
        ]
        found = cost(chosen, threads=args.threads or cores())
        if args.json is not None:
            write_json(args.json, found)
        return 0
    rows = args.json or ROWS
    display = Display(every_seconds=60)
    code = 0
    try:
        args.work.mkdir(parents=True, exist_ok=True)
        progress = within(args.max_minutes, display)
        bench = Bench(
            args.work,
            load_preset(args.preset),
            args.minutes,
            threads=args.threads,
            progress=progress,
        )
        with writing(args.work):
            run(bench, rows, PICTURE if rows == ROWS else rows.with_suffix(".png"), only=args.only)
    except OutOfTime:
        print("time is up; the same call goes on from here")
    except NnStudentError as error:
        print(f"students: {error}", file=sys.stderr)
        code = error.exit_code
    finally:
        display.close()
    if read_rows(rows):
        print(render(newest(read_rows(rows))))
    return code


if __name__ == "__main__":
    sys.exit(main())
