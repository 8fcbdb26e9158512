"""The protocol of docs/results/protocol-5.md as numbers: what is run, and what counts as failure.

  python -m bench.protocol            # prints the table of the page

``python -m bench.semisupervised --protocol`` runs it. A test holds the table equal to the page's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnstudent.phantom import LabelProfile
from nnstudent.pipeline.preset import Preset, load_preset
from nnstudent.training.recipe import Recipe

HERE = Path(__file__).parent
PHANTOMS, PHANTOM_SEED = "medium", 6
# "paper": 222 of 4,000 scans are complete there, 597 have tumors and six organs, 1,381 some
# organs, 1,800 nothing. "ours": the share of complete scans of the bench before.
# The order matters: a partial case's number determines which organs it has annotated.
PROPORTIONS: Mapping[str, Mapping[LabelProfile, int]] = {
    "paper": {"unlabeled": 32, "full": 4, "tumor": 11, "partial": 25, "test": 48},
    "ours": {"unlabeled": 42, "full": 7, "tumor": 11, "partial": 12, "test": 48},
}
SEEDS = (12, 13, 14)
CHOOSING_CASES, CHOOSING_PHANTOMS = 32, 1  # patients of another seed, on whom rules are chosen
CHOOSING_SEEDS = (12,)  # of the networks that --choose compares, if no seed is given
LEAST_STEPS = 10_000
# A lesion stage's rule for a host is one of these, chosen on the same patients.
LESION_THRESHOLDS = (0.5, 0.7, 0.9, 0.97)
LESION_ML = (0.1, 0.3, 1.0, 3.0)
MOST_FALSE = 0.25  # of the patients without a lesion, for the rules of a lesion stage
LEAST_WITH_LESIONS = 60


@dataclass(frozen=True)
class Goal:
    """A difference of two arms, or the score of one, that has to be reached.

    Attributes:
        metric: Key of the score.
        arm: The arm.
        minus: The arm that it is compared with; None for the score itself.
        least: The least value, 0 to 1.
        above: Whether the lower end of the 95 % interval must be above 0 too.
        experiment: The experiment of the arms.
    """

    metric: str
    arm: str
    minus: str | None
    least: float
    above: bool = False
    experiment: str = "table6"

    @property
    def text(self) -> str:
        """The goal in words."""
        what, name = self.metric.rsplit("_", 1)
        against = f" minus {self.minus}" if self.minus else ""
        least = f"at least {100 * self.least:+.1f}"
        interval = ", and the interval above 0" if self.above else ""
        return f"{what} {name.upper()}, {self.arm}{against}: {least}{interval}"


GOALS = (
    Goal("organ_dsc", "small+unlabeled", "small", 0.031, above=True),
    Goal("organ_nsd", "small+unlabeled", "small", 0.039, above=True),
    Goal("organ_dsc", "small+unlabeled", "large+unlabeled", -0.01),
    Goal("tumor_dsc", "small+unlabeled", None, 0.30, experiment="tumors"),
    Goal("tumor_dsc", "small+unlabeled", "small", 0.0, above=True, experiment="tumors"),
)

# Seconds of a step of the trainer with its augmentation, on one core in bfloat16 while the other
# core trains too, rounded up (small and large: AMD EPYC with AVX512-BF16, 2026-12-01; tumor: Intel
# Xeon with AMX, 2026-11-30).
STEP_SECONDS = {"small": 0.065, "large": 0.155, "tumor": 0.14}
MOST_HOURS = 3.0


def networks() -> Preset:
    """The networks of the arms: large, small and lesions. The large one labels, too."""
    return load_preset(HERE / "protocol.toml")


def steps(recipe: Recipe) -> int:
    """Training steps of a recipe."""
    return recipe.training.epochs * recipe.training.iterations


def trainings(experiment: str) -> dict[str, tuple[int, int]]:
    """By network, the trainings that one seed of an experiment needs, and the steps of each."""
    preset = networks()
    assert preset.tumor is not None
    if experiment == "tumors":  # behind the networks of Table 6
        return {"tumor": (2, steps(preset.tumor))}
    return {
        "small": (2, steps(preset.student)),
        "large": (2 + preset.folds, steps(preset.teachers)),
    }


def hours(experiment: str, *, cores: int = 2) -> float:
    """Hours of training for one seed of an experiment, if all cores are busy all the time."""
    needed = trainings(experiment).items()
    seconds = sum(n * each * STEP_SECONDS[name] for name, (n, each) in needed)
    return seconds / cores / 3600


def table() -> str:
    """The numbers of the protocol as a table in Markdown."""
    preset = networks()
    assert preset.tumor is not None
    rows: list[tuple[str, str]] = [
        *((f"patients, proportion `{name}`", _counts(n)) for name, n in PROPORTIONS.items()),
        ("patients with lesions in each cohort", f"at least {LEAST_WITH_LESIONS}"),
        ("phantoms", f"preset `{PHANTOMS}`, seed {PHANTOM_SEED}"),
        ("seeds of the trainings", _listed(SEEDS)),
        ("patients for choosing", f"{CHOOSING_CASES}, of phantom seed {CHOOSING_PHANTOMS}"),
        ("teachers that label", f"{preset.folds} folds, at most one for each complete patient"),
        ("rule for a voxel of a pseudo-label", f"`{preset.decision}`"),
    ]
    for name, recipe in (
        ("small", preset.student),
        ("large", preset.teachers),
        ("tumor", preset.tumor),
    ):
        rows.append((f"{name}: grid, window", _grid(recipe)))
        rows.append((f"{name}: feature maps", _listed(recipe.network.features)))
        rows.append((f"{name}: steps", f"{steps(recipe):,}"))
    rows += [
        ("windows from cases with true labels only", f"at least {_percent(preset.student)}"),
        (
            "tumor: windows with painted lesions",
            f"{100 * preset.tumor.training.paint_lesions:.0f} %",
        ),
        ("tumor: weight of a lesion's voxels", f"{preset.tumor.training.lesion_weight:g}"),
        ("tumor: looks in and around", ", ".join(preset.tumor.data.hosts)),
        ("tumor: thresholds to choose from", _listed(LESION_THRESHOLDS)),
        ("tumor: smallest lesions to choose from", f"{_listed(LESION_ML)} ml"),
        ("tumor: patients without lesions who may have a false one", f"{100 * MOST_FALSE:.0f} %"),
        ("training of one seed of Table 6", f"{hours('table6'):.1f} h on two cores"),
        ("training of its two lesion stages", f"{hours('tumors'):.1f} h on two cores"),
        *((f"goal {n}", goal.text) for n, goal in enumerate(GOALS, 1)),
    ]
    return "\n".join(["| what | value |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def verdict(goal: Goal, value: float, interval: Sequence[float]) -> str:
    """Whether a goal is reached.

    Args:
        goal: The goal.
        value: The score or the difference.
        interval: Its 95 % interval.
    """
    if math.isnan(value):
        return "not measured"
    reached = value >= goal.least and (not goal.above or interval[0] > 0)
    return "reached" if reached else "missed"


def _counts(counts: Mapping[LabelProfile, int]) -> str:
    names: Mapping[LabelProfile, str] = {
        "full": "complete",
        "tumor": "with tumors and six organs",
        "partial": "with some organs",
        "unlabeled": "without labels",
        "test": "to test on",
    }
    return ", ".join(f"{counts[kind]} {names[kind]}" for kind in names)


def _grid(recipe: Recipe) -> str:
    mm = "×".join(f"{size:g}" for size in recipe.data.spacing_mm)
    return f"{mm} mm, {'×'.join(map(str, recipe.data.patch))} voxels"


def _percent(recipe: Recipe) -> str:
    return f"{100 * recipe.training.true_share:.0f} %"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(map(str, values))


if __name__ == "__main__":
    print(table())
