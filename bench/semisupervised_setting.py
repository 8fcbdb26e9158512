"""What is given to bench/semisupervised.py: patients, recipes, arms, and what marks a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bench import protocol
from bench.common import (
    phantom_cohort,
)
from bench.protocol import steps
from bench.semisupervised_arms import (
    ALL,
    ARMS,
    COUNTS,
    SMALL,
    Arm,
    without_defaults,
)
from nnstudent.cohort.cohort import Cohort
from nnstudent.errors import InputError
from nnstudent.io.record import data_hash, file_hash
from nnstudent.phantom import LabelProfile
from nnstudent.pipeline.preset import Preset
from nnstudent.progress import Progress, silent
from nnstudent.training.recipe import Recipe


@dataclass(frozen=True)
class Setting:
    """The pieces that arms are made from.

    Each piece is a folder in ``work`` that one stage makes; a stage resumes where it ended, and
    does nothing once it is done.

    Attributes:
        work: The folder.
        preset: Large network, small network, and the number of teachers. With a recipe ``tumor``,
            which also learns the organs that lie around lesions, its model is a lesion stage behind
            every network; otherwise an arm's own network learns tumors and is laid over it.
        proportion: Name of ``counts``, for the rows; empty for the first cohort.
        counts: Number of cases of each kind.
        phantoms: Preset of the phantoms.
        phantom_seed: Seed of the phantoms.
        threads: CPU threads; None for whatever is fastest.
        progress: Called as a piece advances.
    """

    work: Path
    preset: Preset
    proportion: str = ""
    counts: Mapping[LabelProfile, int] = field(default_factory=lambda: dict(COUNTS))
    phantoms: str = "tiny"
    phantom_seed: int = 0
    threads: int | None = None
    progress: Progress = silent

    def __post_init__(self) -> None:
        taken = {
            role: steps(recipe)
            for role, recipe in (
                ("large", self.preset.teachers),
                ("small", self.preset.student),
                ("tumor", self.preset.tumor or self.preset.student),
            )
        }
        if len(set(taken.values())) > 1:
            raise InputError(
                f"preset {self.preset.name}: steps {taken}; every arm needs the same number, "
                "change epochs or iterations"
            )

    @cached_property
    def cohort(self) -> Cohort:
        """The scans; made once, the same for every seed."""
        return phantom_cohort(
            self.work / "cohort",
            self.counts,
            preset=self.phantoms,
            progress=self.progress,
            seed=self.phantom_seed,
        )

    @cached_property
    def choosing(self) -> Cohort:
        """Patients of another seed, on whom rules are chosen; nothing learns from them."""
        return phantom_cohort(
            self.work / "choosing",
            {"test": protocol.CHOOSING_CASES},
            preset=self.phantoms,
            progress=self.progress,
            seed=protocol.CHOOSING_PHANTOMS,
        )

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms, by the preset's rule for pseudo-labels except where rules are compared."""
        return self.by_rule(ARMS)

    def by_rule(self, arms: Iterable[Arm]) -> tuple[Arm, ...]:
        """Arms by the preset's rule for pseudo-labels, except where rules are compared."""
        return tuple(
            arm
            if arm.experiment == "decision" or arm.learns != "all"
            else replace(arm, decision=self.preset.decision)
            for arm in arms
        )

    @cached_property
    def tumor_classes(self) -> tuple[str, ...]:
        """The lesions, and the organs that every case with lesions annotated has annotated too."""
        table = self.cohort.taxonomy
        cases = self.cohort.annotated_with(table.lesions)
        shared = frozenset.intersection(*(case.annotated for case in cases))
        return table.sorted(shared)

    @property
    def lesion_hosts(self) -> tuple[str, ...]:
        """The organs in and around which the lesion stage looks."""
        recipe = self.preset.tumor
        organs = self.cohort.taxonomy.organs
        named = recipe.data.hosts if recipe else ()
        return named or tuple(name for name in self.tumor_classes if name in organs)

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
        recipe = {
            "large": self.preset.teachers,
            "small": self.preset.student,
            "tumor": self.preset.tumor or self.preset.student,
        }[network]
        return replace(recipe, training=replace(recipe.training, seed=100 * seed))

    def row(self, arm: Arm, seed: int) -> dict[str, Any]:
        """What identifies a row; one that agrees in all of it is not made again."""
        return {
            "experiment": arm.experiment,
            "arm": arm.name,
            "seed": seed,
            "steps": steps(self.preset.student),
            **({"proportion": self.proportion} if self.proportion else {}),
            "counts": dict(self.counts),
            "cohort_hash": self.cohort_hash,
            "recipe_hash": data_hash(
                [
                    without_defaults(self.preset.teachers),
                    without_defaults(self.preset.student),
                    self.preset.folds,
                    *([without_defaults(self.preset.tumor)] if self.preset.tumor else []),
                ]
            ),
            "arm_hash": data_hash(
                [
                    without_defaults(replace(arm, experiment="", name="")),
                    *([arm.decision] if arm.learns == "all" else []),
                    *(["organ teachers label"] if arm.learns == "all" and not arm.one else []),
                    SMALL if arm.cascade else (),
                    *sorted(vars(ALL).items()),
                ]
            ),
        }
