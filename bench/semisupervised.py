"""What unlabeled and partly labeled scans add, on synthetic patients and two cores.

  python -m bench.semisupervised --only table6 --seed 0
  python -m bench.semisupervised --max-minutes 60

This repeats Table 6 of the paper and its ablations. There are 6 scans with all organs labeled, 16
with some classes, 42 without labels, and 30 separate test scans, which nothing learns from and no
choice is based on. A large and a small network (bench/semisupervised.toml) learn for the same
number of steps in every arm. An arm has two models, as in the paper: one for organs, and one for
tumors that learns from the scans with tumors annotated and is laid over it. Without unlabeled scans
the first learns from the complete scans. With them it learns from truth and from pseudo-labels of
three large teachers, which learned from all labeled scans by the marginal loss. One student for
both is an arm of its own.

A killed call loses a minute of training or one case; the next call resumes there. Each finished arm
and seed becomes a row of the JSON file at once, and the page made from the rows
(docs/results/semisupervised.md) is rewritten.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

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
    rounded,
    score_test_cases,
    scores_by_case,
)
from bench.semisupervised_arms import (
    ALL,
    ARMS,
    COUNTS,
    EXPERIMENTS,
    ONE,
    SEEDS,
    SMALL,
    Arm,
    suffix,
)
from bench.semisupervised_table import render, write_results
from nnstudent.cohort.cohort import Cohort
from nnstudent.errors import InputError
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.record import data_hash, file_hash
from nnstudent.phantom import LabelProfile
from nnstudent.pipeline.preset import Preset, load_preset
from nnstudent.progress import Progress, silent
from nnstudent.pseudo.label import label
from nnstudent.pseudo.select import select
from nnstudent.pseudo.settings import LabelSettings, TeacherOptions
from nnstudent.training.recipe import Recipe, Teaching
from nnstudent.training.study import study
from nnstudent.training.teach import Target, teach

ROWS = ROOT / "docs" / "results" / "semisupervised.json"


@dataclass(frozen=True)
class Bench:
    """The pieces that arms are made from.

    Each piece is a folder in ``work`` that one stage makes; a stage resumes where it ended, and
    does nothing once it is done.

    Attributes:
        work: The folder.
        preset: Large network, small network, and the number of teachers.
        counts: Number of cases of each kind.
        phantoms: Preset of the phantoms.
        threads: CPU threads; None for whatever is fastest.
        progress: Called as a piece advances.
    """

    work: Path
    preset: Preset
    counts: Mapping[LabelProfile, int] = field(default_factory=lambda: dict(COUNTS))
    phantoms: str = "tiny"
    threads: int | None = None
    progress: Progress = silent

    def __post_init__(self) -> None:
        steps = {
            role: _steps(recipe)
            for role, recipe in (("large", self.preset.teachers), ("small", self.preset.student))
        }
        if len(set(steps.values())) > 1:
            raise InputError(
                f"preset {self.preset.name}: steps {steps}; every arm needs the same number, "
                "change epochs or iterations"
            )

    @cached_property
    def cohort(self) -> Cohort:
        """The scans; made once, the same for every seed."""
        return phantom_cohort(
            self.work / "cohort", self.counts, preset=self.phantoms, progress=self.progress
        )

    @cached_property
    def cohort_hash(self) -> str:
        """Hash of all scans and labels."""
        rows = [
            (
                case.id,
                case.role,
                sorted(case.annotated),
                file_hash(case.image),
                case.label and file_hash(case.label),
            )
            for case in self.cohort
        ]
        return data_hash(rows)

    def recipe(self, network: str, seed: int) -> Recipe:
        """The recipe of a network; seeds are far apart, because the trainer counts up from them."""
        recipe = self.preset.teachers if network == "large" else self.preset.student
        return replace(recipe, training=replace(recipe.training, seed=100 * seed))

    def row(self, arm: Arm, seed: int) -> dict[str, Any]:
        """What identifies a row; one that agrees in all of it is not made again."""
        return {
            "experiment": arm.experiment,
            "arm": arm.name,
            "seed": seed,
            "steps": _steps(self.preset.student),
            "counts": dict(self.counts),
            "cohort_hash": self.cohort_hash,
            "recipe_hash": data_hash(
                [
                    _without_defaults(self.preset.teachers),
                    _without_defaults(self.preset.student),
                    self.preset.folds,
                ]
            ),
            "arm_hash": data_hash(
                [
                    _without_defaults(replace(arm, experiment="", name="")),
                    *([arm.decision] if arm.learns == "all" else []),
                    *(["organ teachers label"] if arm.learns == "all" and not arm.one else []),
                    SMALL if arm.cascade else (),
                    *sorted(vars(ALL).items()),
                ]
            ),
        }

    def taught(
        self,
        network: str,
        seed: int,
        *,
        target: Target = "organs",
        folds: int = 1,
        partial: str = "background",
    ) -> Path:
        """The model of a target, learned from true labels."""
        recipe = self.recipe(network, seed)
        recipe = replace(recipe, training=replace(recipe.training, partial=partial))
        out = self.work / f"seed{seed}" / "teachers" / f"{network}-{partial}-{folds}"
        return teach(
            self.cohort,
            out,
            Teaching(recipe, folds=folds),
            target=target,
            threads=self.threads,
            progress=self.progress,
        ).models[0]

    def labelers(self, arm: Arm, seed: int) -> list[Path]:
        """The models that label what an arm learns from.

        As in a run of the product, a student of organs learns from organ teachers only: a tumor
        teacher's label over an organ would be a hole in it.
        """
        if arm.round > 1:
            before = Arm("", "", "large", decision=arm.decision, round=arm.round - 1)
            return [self.student(before, seed)]
        partial = self.preset.teachers.training.partial
        organs = self.taught("large", seed, folds=self.preset.folds, partial=partial)
        return [organs, *([self.taught("large", seed, target="tumor")] if arm.one else [])]

    def fused(self, arm: Arm, seed: int) -> Path:
        """Truth and pseudo-labels together, as an arm learns from them."""
        at = self.work / f"seed{seed}"
        pseudo = at / "pseudo" / f"round{arm.round}-{arm.decision}{'-one' * arm.one}"
        labeled = label(
            self.cohort,
            pseudo,
            teachers=self.labelers(arm, seed),
            options=TeacherOptions(decision=arm.decision, threads=self.threads),
            settings=LabelSettings(
                round=arm.round, uncertainty=arm.distill > 0 or arm.ignore_below > 0
            ),
            progress=self.progress,
        )
        out = at / "fused" / arm.labels
        classes = None if arm.one else self.cohort.taxonomy.organs
        settings = replace(ALL, keep=arm.keep, ignore_below=arm.ignore_below)
        chosen = select(
            self.cohort, pseudo, out, settings=settings, classes=classes, progress=self.progress
        )
        # A row that rests on fewer scans than it claims is worse than none.
        if labeled.failures or chosen.failures:
            raise InputError(
                f"{[*labeled.failures, *chosen.failures][0]}; "
                "every case of the cohort must be labeled, call again"
            )
        if arm.keep == 1 and len(chosen.kept) < len(chosen.decisions):
            raise InputError(
                f"{out}: {len(chosen.kept)} of {len(chosen.decisions)} cases were kept; "
                "this arm has to learn from all"
            )
        return out

    def student(self, arm: Arm, seed: int) -> Path:
        """A network that learned from truth and pseudo-labels, with the arm's extra settings."""
        fused = self.fused(arm, seed)
        out = (
            self.work
            / f"seed{seed}"
            / "students"
            / f"{arm.network}-{fused.name}{suffix(arm.extras)}"
        )
        recipe = self.recipe(arm.network, seed)
        recipe = replace(recipe, training=replace(recipe.training, **arm.extras))
        return study(
            fused,
            out,
            recipe,
            organs_only=not arm.one,
            threads=self.threads,
            progress=self.progress,
        )

    def second(self, arm: Arm, seed: int) -> Path:
        """A cascade's second stage: the small network for small organs, on a grid twice as fine."""
        recipe = self.recipe("small", seed)
        z, y, x = (mm / 2 for mm in recipe.data.spacing_mm)
        finer = replace(recipe, data=replace(recipe.data, spacing_mm=(z, y, x)))
        organs_only = not self.preset.one_student
        out = self.work / f"seed{seed}" / "students" / "small-second"
        return study(
            self.fused(arm, seed),
            out,
            finer,
            organs_only=organs_only,
            only=SMALL,
            threads=self.threads,
            progress=self.progress,
        )

    def models(self, arm: Arm, seed: int) -> list[Path]:
        """An arm's network, and the tumor model that is laid over it, if there is one."""
        if arm.learns == "all":
            model = self.student(arm, seed)
            return [model] if arm.one else [model, self.taught(arm.network, seed, target="tumor")]
        partial = "marginal" if arm.learns == "labeled" else "background"
        return [
            self.taught(arm.network, seed, partial=partial),
            self.taught(arm.network, seed, target="tumor"),
        ]

    def scored(self, arm: Arm, seed: int) -> dict[str, Any]:
        """The row of an arm: trained, exported, the test cases segmented and scored."""
        models = self.models(arm, seed)
        second = self.second(arm, seed) if arm.cascade else None
        at = self.work / f"seed{seed}"
        bundle = export_once(
            models,
            at / "bundles" / arm.key,
            record=at / "bundles" / f"{arm.key}.json",
            second=second,
            progress=self.progress,
        )
        scores, timings = score_test_cases(
            self.cohort,
            Segmenter(bundle, threads=self.threads),
            at / "predictions" / arm.key,
            name=arm.key,
            progress=self.progress,
        )
        progress = models[0] / "fold_0" / "progress.json"
        curve = json.loads(progress.read_text("utf-8"))["train_loss"]
        return {
            **self.row(arm, seed),
            "commit": commit(),
            **organ_means(scores),
            "seconds_per_case": round(float(np.mean([case["total"] for case in timings])), 3),
            "machine": machine(),
            "loss": _tail(curve),
            "organs": {
                name: rounded(mean.dsc)
                for name, mean in scores.means().items()
                if name in scores.taxonomy.organs
            },
            "cases": scores_by_case(scores),
        }


def run(
    bench: Bench, rows: Path, *, only: str | None = None, seeds: list[int] | None = None
) -> None:
    """Make every missing row, one experiment after the other, seed by seed."""
    wanted = [
        (seed, arm)
        for experiment in EXPERIMENTS
        if only in (None, experiment)
        for seed in seeds or SEEDS.get(experiment, ONE)
        for arm in ARMS
        if arm.experiment == experiment
    ]
    for seed, arm in wanted:
        mark, known = bench.row(arm, seed), read_rows(rows)
        # The first rows had no arm_hash.
        if any(all(row.get(key, value) == value for key, value in mark.items()) for row in known):
            continue
        print(f"{arm.experiment}: {arm.name}, seed {seed}", flush=True)
        what = mark.keys() - {"experiment", "arm"}
        same = next((row for row in known if all(row.get(key) == mark[key] for key in what)), None)
        # An arm of several experiments is one model, which is not made again for the second even if
        # its folder is gone.
        add_row(rows, {**same, **mark} if same else bench.scored(arm, seed))
        publish(rows)


def publish(rows: Path) -> None:
    """Write the page from the rows, if they are the project's own."""
    if rows.resolve() == ROWS:
        write_results(
            read_rows(rows),
            ROOT / "docs" / "results" / "semisupervised.md",
            ROOT / "docs" / "images" / "semisupervised.png",
        )


def _without_defaults(value: Any) -> Any:
    """Plain data without settings at their default, so that a new setting changes no old hash."""
    if is_dataclass(value):
        return {
            one.name: _without_defaults(getattr(value, one.name))
            for one in fields(value)
            if getattr(value, one.name) != one.default
        }
    return [_without_defaults(item) for item in value] if isinstance(value, tuple | list) else value


def _steps(recipe: Recipe) -> int:
    return recipe.training.epochs * recipe.training.iterations


def _tail(curve: list[float]) -> list[float]:
    """Mean training loss of the second to last and of the last tenth of the epochs."""
    part = max(1, len(curve) // 10)
    return [
        round(float(np.mean(curve[-2 * part : -part] or curve)), 4),
        round(float(np.mean(curve[-part:])), 4),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=EXPERIMENTS, help="one experiment (default: all)")
    parser.add_argument(
        "--seed",
        type=int,
        action="append",
        help="may be repeated (default: 0, 1 and 2; only 1 for the smaller ablations)",
    )
    parser.add_argument(
        "--preset", type=Path, default=Path(__file__).with_suffix(".toml"), help="the two networks"
    )
    add_row_options(parser, rows=ROWS, work=ROOT / "runs" / "semisupervised")
    args = parser.parse_args()

    def make_rows(progress: Progress) -> None:
        bench = Bench(args.work, load_preset(args.preset), threads=args.threads, progress=progress)
        run(bench, args.json, only=args.only, seeds=args.seed)

    code = resumable("semisupervised", args.work, make_rows, minutes=args.max_minutes)
    print(render(read_rows(args.json)))
    return code


if __name__ == "__main__":
    sys.exit(main())
