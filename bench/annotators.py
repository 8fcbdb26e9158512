"""Which scans are worth correcting: simulated annotators on phantoms.

  python -m bench.annotators --work runs/annotators

A student that learned from five scans segments a pool; a strategy of `qc --next` chooses five
scans, the truth takes the place of a person's correction, the student goes on learning, and so on.
A third of the scans of pool and test are unlike the others (bench.quality_shifts). A row of
docs/results/annotators.json is a strategy, a seed and a number of corrected scans with the mean
DSC of the organs on test scans; its first round is the same for all strategies of a seed.
`--table` prints the means over seeds. A call that was stopped is resumed by the same call.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import ROOT, add_row, add_row_options, commit, machine, read_rows, resumable
from bench.quality_shifts import SHIFTS, shifted
from nnstudent.bundle.bundle import open_model
from nnstudent.choices import STRATEGIES
from nnstudent.cohort.cohort import Case, Cohort, read_cohort, write_cohort
from nnstudent.evaluation.calibrate import true_dice
from nnstudent.evaluation.ranking import candidate_of
from nnstudent.inference.labels.volumetry import statistics_rows
from nnstudent.inference.segmentation import Segmentation
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image, read_labels, write_image, write_labels
from nnstudent.phantom import make_case
from nnstudent.pipeline.preset import load_preset
from nnstudent.progress import Progress
from nnstudent.quality.choose import Candidate, choose_next
from nnstudent.quality.fit import KnownCase, calibrate
from nnstudent.quality.model import QualityModel
from nnstudent.taxonomy import flare23
from nnstudent.training.recipe import Recipe
from nnstudent.training.study import study

ROWS = ROOT / "docs" / "results" / "annotators.json"
ORGANS = flare23().organs
SEEDS, ROUNDS, PER_ROUND = 3, 2, 5
POOL, TEST, CALIBRATION = 24, 10, 20
FIRST_STEPS, STEPS = 1500, 400
FIRST_SEED = 840_000
UNLIKE = tuple(SHIFTS)  # every third scan


def main(words: list[str] | None = None) -> int:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_row_options(parser, rows=ROWS, work=Path("runs/annotators"))
    parser.add_argument("--table", action="store_true", help="print the means, run nothing")
    args = parser.parse_args(words)
    if args.table:
        print(table(read_rows(args.json)))
        return 0

    def make(progress: Progress) -> None:
        for seed in range(SEEDS):
            run_seed(seed, args.work, args.json, threads=args.threads, progress=progress)

    return resumable("annotators", args.work, make, minutes=args.max_minutes)


def run_seed(seed: int, work: Path, rows: Path, *, threads: int | None, progress: Progress) -> None:
    """All strategies of a seed, round by round, so that what is done can be compared."""
    folder = work / f"seed_{seed}"
    scans = Scans(work / "scans", seed, progress)
    first = scans.pool[:PER_ROUND]
    chosen = {strategy: list(first) for strategy in STRATEGIES}
    students: dict[str, Path] = {}
    for number in range(ROUNDS + 1):
        for strategy in STRATEGIES:
            key = "first" if number == 0 else f"{strategy}_{number}"
            out = folder / key
            before = students.get(strategy)
            if number:
                chosen[strategy] += select(
                    strategy, scans, chosen[strategy], before, seed=seed, threads=threads
                )
            students[strategy] = teach(scans, chosen[strategy], out, before, threads, progress)
            if not _has(read_rows(rows), seed, strategy, number):
                found = score(scans, out, threads)
                add_row(rows, _row(seed, strategy, number, chosen[strategy], found, scans))


class Scans:
    """The phantoms: a pool to correct from, test scans, scans to calibrate on."""

    def __init__(self, folder: Path, seed: int, progress: Progress) -> None:
        """Make them, unless they are there; the seed shuffles the pool."""
        self.folder = folder
        total = POOL + TEST + CALIBRATION
        self.names = [f"scan_{number:03d}" for number in range(total)]
        order = np.random.default_rng(seed).permutation(POOL)
        self.pool = [self.names[number] for number in order]
        self.test = self.names[POOL : POOL + TEST]
        self.calibration = self.names[POOL + TEST :]
        for number, name in enumerate(self.names):
            if not self.labels(name).is_file():
                self._make(number, name)
                progress("phantoms", number + 1, total)

    def _make(self, number: int, name: str) -> None:
        image, truth = _scan(FIRST_SEED + number, number)
        write_image(self.image(name), image)
        write_labels(self.labels(name), truth)

    def image(self, name: str) -> Path:
        """The image of a scan."""
        return self.folder / "images" / f"{name}.nii.gz"

    def labels(self, name: str) -> Path:
        """The truth of a scan."""
        return self.folder / "labels" / f"{name}.nii.gz"

    def is_unlike(self, name: str) -> bool:
        """Whether a scan is unlike the others."""
        return unlike(self.names.index(name)) is not None


def unlike(number: int) -> str | None:
    """How a scan is unlike the others; None if it is not."""
    return UNLIKE[number // 3 % len(UNLIKE)] if number % 3 == 2 else None


def _scan(seed: int, number: int) -> tuple[Any, Any]:
    case = make_case(seed, preset="tiny")
    how = unlike(number)
    if how is None:
        return case.image, case.organs
    return shifted(case.image, case.organs, how, seed=seed)


def recipe(steps: int) -> Recipe:
    """The demo's network and grid; this many steps."""
    given = load_preset("demo").student
    return replace(given, training=replace(given.training, epochs=max(1, steps // 25)))


def teach(
    scans: Scans,
    names: Sequence[str],
    out: Path,
    before: Path | None,
    threads: int | None,
    progress: Progress,
) -> Path:
    """A student that learns from corrected scans, starting from the one before."""
    cohort = out / "cohort"
    if not (cohort / "cohort.json").is_file():
        organs = frozenset(ORGANS)
        cases = [Case(n, scans.image(n), scans.labels(n), organs, declared=True) for n in names]
        write_cohort(cohort, Cohort(flare23(), tuple(cases)))
    elif {case.id for case in read_cohort(cohort)} != set(names):
        raise SystemExit(f"{cohort}: other scans than are chosen now; delete {out.parent}")
    model = out / "student"
    if not (model / "fold_0" / "checkpoint_final.pth").is_file():
        study(
            cohort,
            model,
            recipe(STEPS if before else FIRST_STEPS),
            organs_only=True,
            start=open_model(before) if before else None,
            device="cpu",
            threads=threads,
            progress=progress,
        )
    return model


def select(
    strategy: str,
    scans: Scans,
    corrected: Sequence[str],
    model: Path | None,
    *,
    seed: int,
    threads: int | None,
) -> list[str]:
    """The scans that a strategy wants to be corrected next."""
    if strategy == "random":  # which asks no model
        every = {name: Candidate(name) for name in scans.pool}
    else:
        every = look(scans, model, quality=strategy == "quality", threads=threads)
    chosen = choose_next(
        [every[name] for name in scans.pool if name not in corrected],
        PER_ROUND,
        strategy=strategy,
        corrected=[every[name] for name in corrected],
        seed=seed + 100 * len(corrected),
    )
    return list(chosen)


@lru_cache(maxsize=4)
def look(
    scans: Scans, model: Path | None, *, quality: bool, threads: int | None
) -> dict[str, Candidate]:
    """What a student says of each scan of the pool, with an expected Dice if that is wanted."""
    segmenter = Segmenter(model, threads=threads, windows="guided")
    expects = calibrated(scans, segmenter) if quality else None
    every = {}
    for name in scans.pool:
        image = read_image(scans.image(name))
        result = segmenter(image)
        rows = statistics_rows(name, image=image, result=result, taxonomy=segmenter.taxonomy)
        every[name] = candidate_of(name, rows)
        if expects is not None and result.features is not None:
            said = {organ: item.expected_dice for organ, item in expects(result.features).items()}
            expected = {organ: dice for organ, dice in said.items() if dice is not None}
            every[name] = replace(every[name], expected_dice=expected)
    return every


def calibrated(scans: Scans, segmenter: Segmenter) -> QualityModel:
    """The calibration of a student, on scans that nobody learns from or is scored on."""
    known = []
    for name in scans.calibration:
        result = segmenter(read_image(scans.image(name)))
        if result.features is not None:
            known.append(KnownCase(result.features, _dice(result, scans.labels(name))))
    return calibrate(known)


@lru_cache(maxsize=2)
def score(scans: Scans, out: Path, threads: int | None) -> dict[str, dict[str, float]]:
    """The DSC of each organ in each test scan."""
    segmenter = Segmenter(out / "student", threads=threads, windows="guided")
    return {
        name: _dice(segmenter(read_image(scans.image(name))), scans.labels(name))
        for name in scans.test
    }


def _dice(result: Segmentation, truth: Path) -> dict[str, float]:
    return true_dice(result.labels, read_labels(truth), organs=ORGANS, taxonomy=flare23())


def _row(
    seed: int,
    strategy: str,
    number: int,
    chosen: Sequence[str],
    found: Mapping[str, Mapping[str, float]],
    scans: Scans,
) -> dict[str, Any]:
    usual = {name: dice for name, dice in found.items() if not scans.is_unlike(name)}
    others = {name: dice for name, dice in found.items() if scans.is_unlike(name)}
    return {
        "seed": seed,
        "strategy": strategy,
        "round": number,
        "corrected": len(chosen),
        "unlike_among_them": sum(scans.is_unlike(name) for name in chosen),
        "dsc": mean_over_organs(found),
        "dsc_usual": mean_over_organs(usual),
        "dsc_unlike": mean_over_organs(others),
        "chosen": list(chosen),
        "machine": machine(),
        "commit": commit(),
    }


def mean_over_organs(found: Mapping[str, Mapping[str, float]]) -> float:
    """The mean over organs of each organ's mean, as everywhere."""
    organs = sorted({organ for dice in found.values() for organ in dice})
    means = [statistics.fmean(d[organ] for d in found.values() if organ in d) for organ in organs]
    return round(statistics.fmean(means), 4)


def _has(rows: Sequence[Mapping[str, Any]], seed: int, strategy: str, number: int) -> bool:
    wanted = (seed, strategy, number)
    return any((row["seed"], row["strategy"], row["round"]) == wanted for row in rows)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Mean DSC over seeds with its range, a line a strategy, a column a number of scans."""
    counts = sorted({row["corrected"] for row in rows})
    lines = ["| strategy | seeds | " + " | ".join(f"{count} scans" for count in counts) + " |"]
    lines.append("|---|---|" + "---|" * len(counts))
    for strategy in STRATEGIES:
        own = [row for row in rows if row["strategy"] == strategy]
        cells = []
        for count in counts:
            values = [row["dsc"] for row in own if row["corrected"] == count]
            cells.append(_cell(values))
        seeds = len({row["seed"] for row in own})
        lines.append(f"| {strategy} | {seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{statistics.fmean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    raise SystemExit(main())
