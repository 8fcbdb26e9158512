"""What partially annotated cases leave open, for the loss, the windows and the class weights.

Pure functions; nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnstudent.taxonomy import Taxonomy
from nnstudent.types import MaskArray

_MOST_OFTEN = 4.0


def possible_classes(
    annotated: Collection[int], *, channels: int, lesions: Collection[int] = ()
) -> MaskArray:
    """Which classes may truly be where a case's label map names a class.

    A class that is not annotated may be in the background. A lesion that is not annotated may also
    be inside an organ: whoever draws a liver without looking for tumors draws over them.
    Everything else is excluded: an annotated class has no other where it is drawn, and the
    background has none that is annotated.

    Args:
        annotated: Channels of the classes that somebody rows for.
        channels: Number of channels, background included.
        lesions: Channels of the lesion classes.

    Returns:
        (label, class), bool. The identity if every class is annotated.
    """
    table = np.eye(channels, dtype=np.bool_)
    not_annotated = [channel for channel in range(1, channels) if channel not in annotated]
    table[0, not_annotated] = True
    for organ in set(annotated) - set(lesions):
        table[organ, [channel for channel in not_annotated if channel in lesions]] = True
    return table


@dataclass(frozen=True)
class PartialLabels:
    """The partially annotated cases among those that a model learns from.

    Attributes:
        possible: By case, :func:`possible_classes`; cases that it lacks are fully annotated.
        channels: Number of the model's channels, background included.
        lesions: Channels of the lesion classes.
        lesion_truth: By case, the lesion channels that a person annotated; given only if lesions
            are pasted into other cases.
        true: The cases whose labels are all a person's; given only if they are drawn more often.
    """

    possible: Mapping[str, MaskArray]
    channels: int
    lesions: frozenset[int] = frozenset()
    lesion_truth: Mapping[str, Collection[int]] = field(default_factory=dict)
    true: frozenset[str] = frozenset()

    @classmethod
    def read(cls, dataset_json: Mapping[str, Any]) -> PartialLabels:
        """Read the annotated channels of such cases from a model's dataset.json."""
        own = dataset_json.get("nnstudent", {})
        classes, annotated = own.get("classes", {}), own.get("annotated", {})
        names = Taxonomy.from_dict(own["taxonomy"]).lesions if classes else ()
        lesions = frozenset(int(channel) for channel, name in classes.items() if name in names)
        channels = len(classes) + 1
        possible = {
            case: possible_classes(known, channels=channels, lesions=lesions)
            for case, known in annotated.items()
        }
        return cls(
            possible, channels, lesions, own.get("lesion_truth", {}), frozenset(own.get("true", ()))
        )

    def __bool__(self) -> bool:
        return bool(self.possible)

    def possible_in(self, cases: Sequence[str]) -> MaskArray:
        """The tables of a batch's cases, (sample, label, class)."""
        whole = np.eye(self.channels, dtype=np.bool_)
        return np.stack([self.possible.get(case, whole) for case in cases])

    def closed_lesions(self, case: str) -> frozenset[int]:
        """The lesions that a case's labels do not leave open."""
        table = self.possible.get(case)
        return (
            self.lesions
            if table is None
            else frozenset(lesion for lesion in self.lesions if not table[0, lesion])
        )

    def draw(self, cases: Sequence[str], *, true_share: float = 0.0) -> list[float] | None:
        """How often each case is drawn, so that half of the windows are from fully annotated ones.

        Only these show all classes side by side. If they are very few, they are drawn at most four
        times as often as the others, so that the model does not memorize them. A recipe's
        ``true_share`` takes the place of this rule.

        Args:
            cases: The cases to draw from.
            true_share: Least share of the windows from the cases in ``true``.

        Returns:
            Probabilities in the order of the cases; None if all are equally likely.
        """
        true = sum(case in self.true for case in cases)
        if 0 < true < len(cases) and true_share > true / len(cases):
            rest = (1 - true_share) / (len(cases) - true)
            return [true_share / true if case in self.true else rest for case in cases]
        partly = sum(case in self.possible for case in cases)
        whole = len(cases) - partly
        if not whole or partly <= whole:
            return None
        often = min(partly / whole, _MOST_OFTEN)
        total = partly + often * whole
        return [(1.0 if case in self.possible else often) / total for case in cases]


def volumes_if_annotated(
    volumes_ml: Sequence[Sequence[float]], annotated: Sequence[Collection[int]]
) -> tuple[float, ...]:
    """Volume of each class over all cases, as if it had been annotated in all of them.

    Args:
        volumes_ml: By case, the volume of the background and of each class.
        annotated: By case, the channels of the annotated classes.

    Returns:
        The sum for the background. For a class, the sum over the cases that have it annotated,
        scaled up by their share of all background.
    """
    table = np.asarray(volumes_ml, np.float64)
    total = table.sum(0)
    for channel in range(1, table.shape[1]):
        rows = np.array([channel in known for known in annotated])
        background = table[rows, 0].sum()
        if background > 0:
            total[channel] = table[rows, channel].sum() * table[:, 0].sum() / background
    return tuple(float(volume) for volume in total)
