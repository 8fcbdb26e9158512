"""What a partly annotated case says and what it leaves open: for the loss, for drawing windows, for weighing classes. Pure; no torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.taxonomy import Taxonomy

_MOST_OFTEN = 4.0


def possible_classes(
    annotated: Collection[int], *, channels: int, lesions: Collection[int] = ()
) -> npt.NDArray[np.bool_]:
    """Which classes may truly be where a case's label map says one.

    A class that is not annotated may be where the map says background. A lesion that is not annotated may also be inside an
    organ: who draws a liver and does not look for tumors draws over them. Everything else is excluded: where an annotated class
    is drawn there is no other, and in the background there is none that is annotated.

    Args:
        annotated: Channels of the classes that somebody looked for.
        channels: How many channels, background included.
        lesions: Channels of the lesion classes.

    Returns:
        (label, class), bool. The identity where every class is annotated.
    """
    table = np.eye(channels, dtype=np.bool_)
    unknown = [channel for channel in range(1, channels) if channel not in annotated]
    table[0, unknown] = True
    for organ in set(annotated) - set(lesions):
        table[organ, [channel for channel in unknown if channel in lesions]] = True
    return table


@dataclass(frozen=True)
class PartialLabels:
    """The partly annotated cases among those that a model learns from.

    Attributes:
        possible: By case, :func:`possible_classes`; a case that is not in it is annotated throughout.
        channels: How many channels the model has, background included.
        lesions: Channels of the lesion classes.
        lesion_truth: By case, the lesions that a person looked for; known only where it is asked for, when they are pasted into others.
    """

    possible: Mapping[str, npt.NDArray[np.bool_]]
    channels: int
    lesions: frozenset[int] = frozenset()
    lesion_truth: Mapping[str, Collection[int]] = field(default_factory=dict)

    @classmethod
    def read(cls, dataset_json: Mapping[str, Any]) -> PartialLabels:
        """From a model's dataset.json, where the annotated channels of such cases are listed."""
        own = dataset_json.get("nnstudent", {})
        classes, annotated = own.get("classes", {}), own.get("annotated", {})
        names = Taxonomy.from_dict(own["taxonomy"]).lesions if classes else ()
        lesions = frozenset(int(channel) for channel, name in classes.items() if name in names)
        channels = len(classes) + 1
        possible = {
            case: possible_classes(known, channels=channels, lesions=lesions)
            for case, known in annotated.items()
        }
        return cls(possible, channels, lesions, own.get("lesion_truth", {}))

    def __bool__(self) -> bool:
        return bool(self.possible)

    def possible_in(self, cases: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(sample, label, class) of the cases of one batch."""
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

    def draw(self, cases: Sequence[str]) -> list[float] | None:
        """How often each case is drawn, so that half of the windows are from cases annotated throughout.

        Only these show all classes side by side. Where they are very few they are drawn at most four times as often as the
        others, lest the model learn them by heart.

        Returns:
            Probabilities in the order of the cases; None where all are equally likely.
        """
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
        annotated: By case, the channels of the classes annotated.

    Returns:
        Of the background the sum; of a class the sum over the cases that have it annotated, in proportion to the share of
        all background that is theirs.
    """
    table = np.asarray(volumes_ml, np.float64)
    total = table.sum(0)
    for channel in range(1, table.shape[1]):
        looked = np.array([channel in known for known in annotated])
        background = table[looked, 0].sum()
        if background > 0:
            total[channel] = table[looked, channel].sum() * table[:, 0].sum() / background
    return tuple(float(volume) for volume in total)
