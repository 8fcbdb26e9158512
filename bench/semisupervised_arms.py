"""The arms of bench/semisupervised.py, and the cohort they learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from nnstudent.phantom import LabelProfile
from nnstudent.pseudo.ensemble import DecisionRule
from nnstudent.pseudo.selection import SelectSettings

# The order matters: a partial case's number determines which organs it has annotated.
COUNTS: Mapping[LabelProfile, int] = {
    "unlabeled": 42,
    "full": 6,
    "tumor": 10,
    "partial": 6,
    "test": 30,
}

ALONE, LABELS = "small", "pseudo-labels"  # arms of a choice: whether labels are worth learning from


@dataclass(frozen=True)
class Arm:
    """One way of learning, scored on the test cases.

    The settings from ``one`` on apply only to arms that learn from ``all`` scans.

    Attributes:
        experiment: The experiment in which it is compared.
        name: Its name there.
        network: Which of the two networks learns.
        learns: From the ``complete`` scans; from these and the partly ``labeled`` ones by the
            marginal loss; or from ``all``, by pseudo-labels.
        one: Whether one network segments organs and tumors, from pseudo-labels of both; otherwise a
            tumor model is laid over it, as in the paper, and only organ teachers label for it.
        decision: The rule that gives a voxel of a pseudo-label its label.
        keep: Share of the pseudo-labels that is kept, those first on which the teachers agree.
        round: Number of rounds of labeling, each by the large network of the round before.
        cutmix: Share of the student's windows that are mixed.
        copy_paste: Share of them that receive a lesion.
        distill: Share of the loss that follows the teachers' probabilities.
        ema: The model is the moving average of the weights with this decay; 0: it is not.
        cascade: Whether a second small network, on a grid twice as fine, segments the small organs
            again.
        ignore_below: Voxels of a pseudo-label with a lower probability are ignored.
        lesions: Whether the preset's lesion stage stands behind its network of organs.
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
    ema: float = 0.0
    cascade: bool = False
    ignore_below: float = 0.0
    lesions: bool = False

    @property
    def extras(self) -> dict[str, Any]:
        """Settings of the student's training that differ from the other arms'."""
        return {
            name: getattr(self, name)
            for name in ("cutmix", "copy_paste", "distill", "ema")
            if getattr(self, name)
        }

    @property
    def labels(self) -> str:
        """A name shared by arms that learn from the same truth and pseudo-labels."""
        ignored = f"-ignore{self.ignore_below:g}" if self.ignore_below else ""
        models = "one" if self.one else "two"
        return f"round{self.round}-{self.decision}-keep{self.keep:g}-{models}{ignored}"

    @property
    def key(self) -> str:
        """A name shared by arms of several experiments that are the same model."""
        stages = "-cascade" * self.cascade + "-lesions" * self.lesions
        if self.learns != "all":
            return f"{self.network}-{self.learns}{stages}"
        return f"{self.network}-all-{self.labels}{suffix(self.extras)}{stages}"


ARMS = (
    # The first goals are about the first two: a call that is cut short answers these.
    Arm("table6", "small", "small", "complete"),
    Arm("table6", "small+unlabeled"),
    Arm("table6", "large", "large", "complete"),
    Arm("table6", "large+unlabeled", "large"),
    Arm("tumors", "small", "small", "complete", lesions=True),
    Arm("tumors", "small+unlabeled", lesions=True),
    Arm("tumors", "large", "large", "complete", lesions=True),
    Arm("tumors", "large+unlabeled", "large", lesions=True),
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
    Arm("consistency", "off"),
    Arm("consistency", "moving average", ema=0.999),
    Arm("cascade", "one network"),
    Arm("cascade", "a finer one for small organs", cascade=True),
    Arm("uncertain", "off"),
    Arm("uncertain", "ignored", ignore_below=0.6),
)
EXPERIMENTS = tuple(dict.fromkeys(arm.experiment for arm in ARMS))
# What is compared on the patients for choosing, before any test case is segmented.
CHOICES = {
    "decision": tuple(arm for arm in ARMS if arm.experiment == "decision"),
    "labels": (Arm("labels", ALONE, learns="complete"), Arm("labels", LABELS)),
}
# The classes of the cascade's second stage.
SMALL = ("right_adrenal_gland", "left_adrenal_gland", "gallbladder", "esophagus", "duodenum")
ALL = SelectSettings(min_agreement=0.0)  # every pseudo-label is kept, as in the paper
SEEDS: Mapping[str, tuple[int, ...]] = dict.fromkeys(
    ("table6", "models", "teacher", "decision"), (0, 1, 2)
)
ONE = (1,)  # the seeds of the other experiments


def suffix(extras: Mapping[str, float]) -> str:
    """The end of a model's name that tells its extra settings."""
    return "".join(f"-{name}{value:g}" for name, value in extras.items())


def without_defaults(value: Any) -> Any:
    """Plain data without settings at their default, so that a new setting changes no old hash."""
    if is_dataclass(value):
        return {
            one.name: without_defaults(getattr(value, one.name))
            for one in fields(value)
            if getattr(value, one.name) != one.default
        }
    return [without_defaults(item) for item in value] if isinstance(value, tuple | list) else value
