"""The result of segmenting one image, and its record as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnstudent.inference.labels.organs import OrganFacts
from nnstudent.inference.labels.probabilities import ProbabilityMaps
from nnstudent.quality.features import CaseFeatures
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The result for one image.

    Attributes:
        labels: Label map on the image's grid, (z, y, x), uint8, with the ids of the label table.
        organs: Facts by class name, for every class of the model in the order of the label table.
        seconds: ``preprocess``, ``network``, ``restore`` and ``total``.
        windows: ``planned`` (the number that ``dense`` runs), ``run`` and ``skipped``.
        warnings: What a reader should know, one line each.
        engine: The engine that ran the networks.
        precision: The precision of its arithmetic.
        model: The model's identity.
        predicted_peak_mb: Peak of resident memory predicted before the work, in MiB.
        features: What was measured of each organ, from which its quality is estimated.
        probabilities: The probability of each class and the uncertainty, if they were kept; they
            hold temporary files until they are closed.
    """

    labels: Volume
    organs: Mapping[str, OrganFacts]
    seconds: Mapping[str, float]
    windows: Mapping[str, int]
    warnings: tuple[str, ...]
    engine: str
    precision: str
    model: str
    predicted_peak_mb: float
    features: CaseFeatures | None = None
    probabilities: ProbabilityMaps | None = None

    def record(self) -> dict[str, Any]:
        """Everything but the labels as plain data, rounded; the same shape in every report."""
        return {
            "engine": self.engine,
            "precision": self.precision,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "predicted_peak_mb": round(self.predicted_peak_mb, 1),
            "windows": dict(self.windows),
            "warnings": list(self.warnings),
            "organs": {name: facts.record() for name, facts in self.organs.items()},
        }


def quality_notes(result: Segmentation) -> dict[str, str]:
    """What is expected of each class, for formats that can say it: ``expected Dice 0.91 …``."""
    return {
        name: facts.quality.text()
        for name, facts in result.organs.items()
        if facts.quality is not None
    }


def keep_organs(result: Segmentation, organs: Sequence[str], taxonomy: Taxonomy) -> Segmentation:
    """The same result with only these classes; all others become background."""
    kept = taxonomy.sorted(organs)
    table = np.zeros(256, np.uint8)
    for name in kept:
        table[taxonomy[name].id] = taxonomy[name].id
    labels = Volume(table[result.labels.array], result.labels.grid)
    return replace(result, labels=labels, organs={name: result.organs[name] for name in kept})
