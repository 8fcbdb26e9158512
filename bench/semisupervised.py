"""What unlabeled and partly labeled scans add: Table 6 of the paper and the ablations, on synthetic patients, on two cores.

  python -m bench.semisupervised --only table6 --seed 0
  python -m bench.semisupervised --max-minutes 60

6 scans with all organs labeled, 16 with some classes, 42 without labels, and 30 test scans apart, which nothing learns from and
nothing is chosen by. A large and a small network (bench/semisupervised.toml) learn for the same number of steps in every arm. An arm is
two models, as in the paper: one of the organs and one of tumors, from the scans with tumors annotated, laid over it. Without unlabeled
scans the first learns from the complete scans, with them from truth and the pseudo-labels of three large teachers, which learned from all
labeled scans by the marginal loss. One student for both is an arm of its own.

A killed call loses a minute of training or one case; the next goes on there. Each finished arm and seed is a row of the JSON file
at once, and what is written from the rows (docs/results/semisupervised.md) is written anew."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.common import (
    ROOT,
    OutOfTime,
    add_row,
    commit,
    organ_means,
    phantom_cohort,
    read_rows,
    rounded,
    scores_by_case,
    within,
)
from bench.semisupervised_table import render, write_results
from nnstudent.bundle.export import export
from nnstudent.cli.common import Display
from nnstudent.cohort.cohort import Cohort
from nnstudent.errors import InputError, NnStudentError
from nnstudent.evaluation.evaluate import evaluate
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.lock import writing
from nnstudent.io.record import data_hash, file_hash, is_made_from, write_record
from nnstudent.machine import cores
from nnstudent.phantom import LabelProfile
from nnstudent.pipeline.predict import predict
from nnstudent.pipeline.preset import Preset, load_preset
from nnstudent.progress import Progress, silent
from nnstudent.pseudo.ensemble import DecisionRule
from nnstudent.pseudo.label import label
from nnstudent.pseudo.select import select
from nnstudent.pseudo.selection import SelectSettings
from nnstudent.pseudo.settings import LabelSettings, TeacherOptions
from nnstudent.training.recipe import Recipe, Teaching
from nnstudent.training.study import study
from nnstudent.training.teach import Target, teach

ROWS = ROOT / "docs" / "results" / "semisupervised.json"
# The order matters: which organs a partial case has annotated follows from its number.
COUNTS: Mapping[LabelProfile, int] = {
    "unlabeled": 42,
    "full": 6,
    "tumor": 10,
    "partial": 6,
    "test": 30,
}


@dataclass(frozen=True)
class Arm:
    """One way of learning, scored on the test cases.

    Attributes:
        experiment: What it is compared in.
        name: Its name there.
        network: Which of the two networks.
        learns: From the ``complete`` scans; from these and the partly ``labeled`` ones by the marginal loss; or from ``all``, by
            pseudo-labels.
        one: Whether one network finds organs and tumors, from pseudo-labels of both; else a tumor model is laid over, as in the paper.
            Of ``all`` only. Both learn from the same label maps: where these have a tumor (1 to 3 voxels of 1,000), the second learns
            background.
        decision: Which label a voxel of a pseudo-label gets; of ``all`` only.
        keep: Share of the pseudo-labels that is kept, those first on which the teachers agree.
        round: After how many rounds of labelling, each by the large network that learned from the one before.
        cutmix: How often the student's windows are mixed. Of ``all`` only, as is what follows.
        copy_paste: How often they are given a lesion.
        distill: Share of the loss that goes by what the teachers think of each voxel.
        cascade: Whether a second small network, on a grid twice as fine, looks again at the small organs.
        ignore_below: Probability under which a voxel of a pseudo-label is not learned from.
    """

    experiment: str
    name: str
    network: Literal["large", "small"] = "small"
    learns: Literal["complete", "labeled", "all"] = "all"
    one: bool = False
    decision: DecisionRule = "dice"
    keep: float = 1.0
    round: int = 1
    cutmix: float = 0.0
    copy_paste: float = 0.0
    distill: float = 0.0
    cascade: bool = False
    ignore_below: float = 0.0

    @property
    def extras(self) -> dict[str, float]:
        """Settings of the student's training that differ from the other arms'."""
        return {
            name: getattr(self, name)
            for name in ("cutmix", "copy_paste", "distill")
            if getattr(self, name)
        }

    @property
    def labels(self) -> str:
        """The same for arms that learn from the same truth and pseudo-labels."""
        ignored = f"-ignore{self.ignore_below:g}" if self.ignore_below else ""
        return f"round{self.round}-{self.decision}-keep{self.keep:g}-{'one' if self.one else 'two'}{ignored}"

    @property
    def key(self) -> str:
        """The same for arms of several experiments that are the same model."""
        if self.learns != "all":
            return f"{self.network}-{self.learns}"
        return f"{self.network}-all-{self.labels}{_suffix(self.extras)}{'-cascade' * self.cascade}"


ARMS = (
    Arm("table6", "large", "large", "complete"),
    Arm("table6", "large+unlabeled", "large"),
    Arm("table6", "small", "small", "complete"),
    Arm("table6", "small+unlabeled"),
    Arm("models", "one student", one=True),
    Arm("models", "student and tumor model"),
    Arm("teacher", "complete only", "large", "complete"),
    Arm("teacher", "marginal loss", "large", "labeled"),
    Arm("decision", "most probable label", decision="argmax"),
    Arm("decision", "best expected Dice"),
    Arm("selection", "off"),
    Arm("selection", "worst fifth dropped", keep=0.8),
    Arm("rounds", "1"),
    Arm("rounds", "2", round=2),
    Arm("rounds", "3", round=3),
    Arm("cutmix", "off"),
    Arm("cutmix", "half of the windows", cutmix=0.5),
    Arm("copy-paste", "off", one=True),
    Arm("copy-paste", "half of the windows", one=True, copy_paste=0.5),
    Arm("distilling", "off"),
    Arm("distilling", "half of the loss", distill=0.5),
    Arm("cascade", "one network"),
    Arm("cascade", "a finer one for small organs", cascade=True),
    Arm("uncertain", "off"),
    Arm("uncertain", "ignored", ignore_below=0.6),
)
EXPERIMENTS = tuple(dict.fromkeys(arm.experiment for arm in ARMS))
SMALL = (
    "right_adrenal_gland",
    "left_adrenal_gland",
    "gallbladder",
    "esophagus",
    "duodenum",
)  # of the cascade's second stage
ALL = SelectSettings(min_agreement=0.0)  # every pseudo-label is kept, as in the paper
SEEDS = {"table6": (0, 1, 2), "models": (0, 1, 2), "teacher": (0, 1, 2), "decision": (0, 1, 2)}
ONE = (1,)  # of the others


@dataclass(frozen=True)
class Bench:
    """The pieces that arms are made of: each a folder in ``work``, made by one stage, which goes on where it was and does nothing
    where it is done.

    Attributes:
        work: The folder.
        preset: Large network, small network, how many teachers.
        counts: The cohort.
        phantoms: Preset of the phantoms.
        threads: Processor threads; None for whatever is quickest.
        progress: Told how far a piece is.
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
                f"preset {self.preset.name}: steps {steps}; every arm is to have as many, change epochs or iterations"
            )

    @cached_property
    def cohort(self) -> Cohort:
        """The scans; made once, the same for every seed."""
        return phantom_cohort(
            self.work / "cohort", self.counts, preset=self.phantoms, progress=self.progress
        )

    @cached_property
    def cohort_hash(self) -> str:
        """Of all scans and labels."""
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
        """The recipe of a network; seeds are far apart, for the trainer counts on from them."""
        recipe = self.preset.teachers if network == "large" else self.preset.student
        return replace(recipe, training=replace(recipe.training, seed=100 * seed))

    def row(self, arm: Arm, seed: int) -> dict[str, Any]:
        """What identifies a row: one that agrees in all of it need not be made again."""
        return {
            "experiment": arm.experiment,
            "arm": arm.name,
            "seed": seed,
            "steps": _steps(self.preset.student),
            "counts": dict(self.counts),
            "cohort_hash": self.cohort_hash,
            "recipe_hash": data_hash(
                [_told(self.preset.teachers), _told(self.preset.student), self.preset.folds]
            ),
            "arm_hash": data_hash(
                [
                    _told(replace(arm, experiment="", name="")),
                    *([arm.decision] if arm.learns == "all" else []),
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
        """Models from true labels: ``organs`` and, where that is the target, ``tumor``."""
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

    def fused(self, arm: Arm, seed: int) -> Path:
        """Truth and pseudo-labels together, as an arm learns from them."""
        if arm.round == 1:
            partial = self.preset.teachers.training.partial
            organs = self.taught("large", seed, folds=self.preset.folds, partial=partial)
            teachers = [organs, self.taught("large", seed, target="tumor")]
        else:
            teachers = [
                self.student(Arm("", "", "large", decision=arm.decision, round=arm.round - 1), seed)
            ]
        at = self.work / f"seed{seed}"
        pseudo = at / "pseudo" / f"round{arm.round}-{arm.decision}"
        labeled = label(
            self.cohort,
            pseudo,
            teachers=teachers,
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
        # a row that rests on fewer scans than it says is worse than none
        if labeled.failures or chosen.failures:
            raise InputError(
                f"{[*labeled.failures, *chosen.failures][0]}; every case of the cohort must be labeled, call again"
            )
        if arm.keep == 1 and len(chosen.kept) < len(chosen.decisions):
            raise InputError(
                f"{out}: {len(chosen.kept)} of {len(chosen.decisions)} cases were kept; this arm is to learn from all"
            )
        return out

    def student(self, arm: Arm, seed: int) -> Path:
        """A network that learned from truth and pseudo-labels, with the arm's settings of its training."""
        fused = self.fused(arm, seed)
        out = (
            self.work
            / f"seed{seed}"
            / "students"
            / f"{arm.network}-{fused.name}{_suffix(arm.extras)}"
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
        """A cascade's second stage: the small network on a grid twice as fine, for the small organs."""
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
        """An arm's network, and the tumor model that is laid over it."""
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
        models, second = self.models(arm, seed), self.second(arm, seed) if arm.cascade else None
        at, test = self.work / f"seed{seed}", self.cohort.test()
        bundle, record, out = (
            at / "bundles" / arm.key,
            at / "bundles" / f"{arm.key}.json",
            at / "predictions" / arm.key,
        )
        made_from = [
            file_hash(model / "fold_0" / "checkpoint_final.pth")
            for model in [*models, *([second] if second else [])]
        ]
        if not is_made_from(record, made_from):
            export(
                models[0],
                bundle,
                overlay=models[1:],
                second=second,
                torch_weights=False,
                progress=self.progress,
            )
            write_record(record, stage="export", made_from=made_from)
        failures = predict(
            test, Segmenter(bundle, threads=self.threads), out=out, progress=self.progress
        )
        scores = evaluate(out, self.cohort, subset="test", progress=self.progress)
        if failures or scores.failures:
            raise InputError(
                f"{arm.key}: {[*failures, *scores.failures][0]}; every test case must be scored, call again"
            )
        seconds = [
            json.loads((out / f"{case.id}.json").read_text("utf-8"))["seconds"]["total"]
            for case in test
        ]
        curve = json.loads((models[0] / "fold_0" / "progress.json").read_text("utf-8"))[
            "train_loss"
        ]
        return {
            **self.row(arm, seed),
            "commit": commit(),
            **organ_means(scores),
            "seconds_per_case": round(float(np.mean(seconds)), 3),
            "machine": f"{cores()} cores, {platform.machine()}",
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
    """Make every row that is not there, one experiment after the other, seed by seed."""
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
        if any(
            all(row.get(key, value) == value for key, value in mark.items()) for row in known
        ):  # the first had no arm_hash
            continue
        print(f"{arm.experiment}: {arm.name}, seed {seed}", flush=True)
        what = mark.keys() - {"experiment", "arm"}
        same = next((row for row in known if all(row.get(key) == mark[key] for key in what)), None)
        # an arm of several experiments is one model, which is not made again for the second, whether or not its folder is still there
        add_row(rows, {**same, **mark} if same else bench.scored(arm, seed))
        publish(rows)


def publish(rows: Path) -> None:
    """Write the page from the rows, where they are the project's own."""
    if rows.resolve() == ROWS:
        write_results(
            read_rows(rows),
            ROOT / "docs" / "results" / "semisupervised.md",
            ROOT / "docs" / "images" / "semisupervised.png",
        )


def _told(value: Any) -> Any:
    """A recipe as plain data without what is as by default, so that a setting that comes to be does not make rows of before others."""
    if is_dataclass(value):
        return {
            one.name: _told(getattr(value, one.name))
            for one in fields(value)
            if getattr(value, one.name) != one.default
        }
    return [_told(item) for item in value] if isinstance(value, tuple | list) else value


def _suffix(extras: Mapping[str, float]) -> str:
    return "".join(f"-{name}{value:g}" for name, value in extras.items())


def _steps(recipe: Recipe) -> int:
    return recipe.training.epochs * recipe.training.iterations


def _tail(curve: list[float]) -> list[float]:
    """Mean training loss of the last tenth of the epochs, and of the tenth before: near each other where it is flat."""
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
        help="may be given several times (default: 0, 1 and 2, of the smaller ablations 1)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=ROWS,
        metavar="FILE",
        help="the rows (default: docs/results/semisupervised.json)",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / "runs" / "semisupervised",
        help="folder of all that is made on the way",
    )
    parser.add_argument(
        "--preset", type=Path, default=Path(__file__).with_suffix(".toml"), help="the two networks"
    )
    parser.add_argument(
        "--max-minutes",
        type=float,
        metavar="M",
        help="stop after so long, to go on with the next call",
    )
    parser.add_argument(
        "--threads", type=int, help="processor threads (default: whatever is quickest)"
    )
    args = parser.parse_args()

    display = Display(every_seconds=60)
    code = 0
    try:
        args.work.mkdir(parents=True, exist_ok=True)
        bench = Bench(
            args.work,
            load_preset(args.preset),
            threads=args.threads,
            progress=within(args.max_minutes, display),
        )
        with writing(args.work):
            run(bench, args.json, only=args.only, seeds=args.seed)
    except OutOfTime:
        print("time is up; the same call goes on from here")
    except NnStudentError as error:
        print(f"semisupervised: {error}", file=sys.stderr)
        code = error.exit_code
    finally:
        display.close()
    print(render(read_rows(args.json)))
    return code


if __name__ == "__main__":
    sys.exit(main())
