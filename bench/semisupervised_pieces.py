"""The pieces that the arms of bench/semisupervised.py are made from."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import (
    Row,
    commit,
    export_once,
    machine,
    organ_means,
    rounded,
    score_test_cases,
    scores_by_case,
)
from bench.semisupervised_arms import (
    ALL,
    SMALL,
    Arm,
    suffix,
)
from bench.semisupervised_lesions import Rules, as_data, choose_rules, read_rules
from bench.semisupervised_setting import Setting
from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.lesion_stage import add_lesion_stage
from nnstudent.bundle.spec import HostRule
from nnstudent.errors import InputError
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.record import file_hash, is_made_from, write_record
from nnstudent.pseudo.label import label
from nnstudent.pseudo.select import select
from nnstudent.pseudo.settings import LabelSettings, TeacherOptions
from nnstudent.training.recipe import PartialLabels, Teaching
from nnstudent.training.study import study
from nnstudent.training.teach import Target, teach


@dataclass(frozen=True)
class Bench(Setting):
    """The pieces that arms are made from, each a folder that one stage makes."""

    def taught(
        self,
        network: str,
        seed: int,
        *,
        target: Target = "organs",
        folds: int = 1,
        partial: PartialLabels = "background",
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
        if not arm.one:
            return [organs]
        if self.preset.tumor is None:
            return [organs, self.taught("large", seed, target="tumor")]
        return [self.with_lesions(self.teacher_bundle(seed), seed, unlabeled=False)]

    def teacher_bundle(self, seed: int) -> Path:
        """The teachers that label organs, as one bundle."""
        (organs,) = self.labelers(Arm("", ""), seed)
        at = self.work / f"seed{seed}" / "bundles"
        return export_once(
            [organs], at / "teachers", record=at / "teachers.json", progress=self.progress
        )

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

    def lesion_stage(self, seed: int, *, unlabeled: bool) -> Path:
        """The model of lesions behind the networks of organs, the same for every arm.

        Args:
            seed: The seed.
            unlabeled: Whether it learns from pseudo-labels of all scans too, made by the stage that
                does not.
        """
        at = self.work / f"seed{seed}"
        if unlabeled:
            fused = self.fused(Arm("", "", one=True, decision=self.preset.decision), seed)
        else:
            fused = at / "fused" / "lesions"
            nothing = at / "pseudo" / "none"
            select(
                self.cohort,
                nothing,
                fused,
                settings=ALL,
                classes=self.tumor_classes,
                progress=self.progress,
            )
        return study(
            fused,
            at / "students" / f"lesions-{'all' if unlabeled else 'labeled'}",
            self.recipe("tumor", seed),
            organs_only=False,
            only=self.tumor_classes,
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

    def network(self, arm: Arm, seed: int) -> Path:
        """An arm's own network."""
        if arm.learns == "all":
            return self.student(arm, seed)
        partial: PartialLabels = "marginal" if arm.learns == "labeled" else "background"
        return self.taught(arm.network, seed, partial=partial)

    def models(self, arm: Arm, seed: int) -> list[Path]:
        """An arm's network, and the tumor model that is laid over it, if there is one."""
        model = self.network(arm, seed)
        if arm.one or self.preset.tumor is not None:
            return [model]
        return [model, self.taught(arm.network, seed, target="tumor")]

    def bundle(self, arm: Arm, seed: int) -> Path:
        """The bundle of an arm, with the lesion stage behind it if the arm has one."""
        at, key = self.work / f"seed{seed}" / "bundles", replace(arm, lesions=False).key
        bundle = export_once(
            self.models(arm, seed),
            at / key,
            record=at / f"{key}.json",
            second=self.second(arm, seed) if arm.cascade else None,
            progress=self.progress,
        )
        if not arm.lesions:
            return bundle
        return self.with_lesions(bundle, seed, unlabeled=arm.learns == "all")

    def with_lesions(self, bundle: Path, seed: int, *, unlabeled: bool) -> Path:
        """A bundle of organs with the lesion stage behind it, by the rules chosen for the stage."""
        stage = self.lesion_stage(seed, unlabeled=unlabeled)
        rules = self.lesion_rules(stage, seed)
        out = bundle.with_name(f"{bundle.name}-lesions")
        record = bundle.with_name(f"{bundle.name}-lesions.json")
        made_from = [*_hashes(bundle, stage), as_data(rules)]
        if not is_made_from(record, made_from):
            add_lesion_stage(
                bundle, stage, out, hosts=rules, torch_weights=False, progress=self.progress
            )
            write_record(record, stage="export", made_from=made_from)
        return out

    def lesion_rules(self, stage: Path, seed: int) -> Rules:
        """The stage's threshold and smallest lesion by host, chosen behind the teachers' organs."""
        at = self.work / f"seed{seed}" / "choosing" / stage.name
        record, bundle = at / "rules.json", self.teacher_bundle(seed)
        made_from = _hashes(bundle, stage)
        if not is_made_from(record, made_from):
            rules = dict.fromkeys(self.lesion_hosts, HostRule())
            add_lesion_stage(
                bundle,
                stage,
                at / "bundle",
                hosts=rules,
                torch_weights=False,
                progress=self.progress,
            )
            both = open_model(at / "bundle")
            rules, worth = choose_rules(
                both, self.choosing, at, threads=self.threads, progress=self.progress
            )
            write_record(
                record, stage="choose", made_from=made_from, rules=as_data(rules), worth=vars(worth)
            )
        return read_rules(record)

    def scored(self, arm: Arm, seed: int) -> dict[str, Any]:
        """The row of an arm: trained, exported, the test cases segmented and scored."""
        bundle, at = self.bundle(arm, seed), self.work / f"seed{seed}"
        scores, timings = score_test_cases(
            self.cohort,
            Segmenter(bundle, threads=self.threads),
            at / "predictions" / arm.key,
            name=arm.key,
            progress=self.progress,
        )
        progress = self.network(arm, seed) / "fold_0" / "progress.json"
        curve = json.loads(progress.read_text("utf-8"))["train_loss"]
        organs_only = self.preset.tumor is not None and not (arm.lesions or arm.one)
        return {
            **self.row(arm, seed),
            "commit": commit(),
            **_measured(organ_means(scores), organs_only=organs_only),
            "seconds_per_case": round(float(np.mean([case["total"] for case in timings])), 3),
            "machine": machine(),
            "loss": _tail(curve),
            "organs": {
                name: rounded(mean.dsc)
                for name, mean in scores.means().items()
                if name in scores.taxonomy.organs
            },
            "cases": {
                case: _measured(means, organs_only=organs_only)
                for case, means in scores_by_case(scores).items()
            },
        }


def _measured(means: Row, *, organs_only: bool) -> Row:
    """Means without those of the tumor, if the arm has nothing that looks for one."""
    return {name: mean for name, mean in means.items() if not (organs_only and "tumor" in name)}


def _hashes(bundle: Path, stage: Path) -> list[str]:
    """What a bundle of :func:`export_once` and a lesion stage were made from."""
    return [
        file_hash(bundle.with_name(f"{bundle.name}.json")),
        file_hash(stage / "fold_0" / "checkpoint_final.pth"),
    ]


def _tail(curve: list[float]) -> list[float]:
    """Mean training loss of the second to last and of the last tenth of the epochs."""
    part = max(1, len(curve) // 10)
    return [
        round(float(np.mean(curve[-2 * part : -part] or curve)), 4),
        round(float(np.mean(curve[-part:])), 4),
    ]
