"""Facts about each organ of a label map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnstudent.inference.checks import ids_at_border
from nnstudent.inference.labels.run_length import voxel_counts
from nnstudent.quality.model import Quality
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume


@dataclass(frozen=True)
class OrganFacts:
    """Facts about one class in one image.

    Attributes:
        volume_ml: Its volume in ml; 0 if it was not found.
        touches_border: Whether it touches the border of the image or of the scanned part of it,
            so that it may extend beyond.
        confidence: Mean probability that the network gives it over its own voxels on the
            network's grid; None if it was not found.
        quality: How good its segmentation is expected to be; None where the model has no
            calibration of that, or the organ was not found and may well not be in view.
    """

    volume_ml: float
    touches_border: bool
    confidence: float | None
    quality: Quality | None = None

    def record(self) -> dict[str, Any]:
        """The same as plain data, rounded."""
        return {
            "volume_ml": round(self.volume_ml, 3),
            "touches_border": self.touches_border,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "quality": None if self.quality is None else self.quality.record(),
        }


def organ_facts(
    image: Volume,
    labels: Volume,
    *,
    taxonomy: Taxonomy,
    confidence: Mapping[str, float | None],
) -> dict[str, OrganFacts]:
    """Facts about each class that ``confidence`` names.

    Args:
        image: The image.
        labels: Its label map, on the same grid.
        taxonomy: The label table of ``labels``.
        confidence: Confidence by class name.
    """
    counts = voxel_counts(labels.array)
    at_border = ids_at_border(image, labels.array)
    facts: dict[str, OrganFacts] = {}
    for name, value in confidence.items():
        id = taxonomy[name].id
        volume_ml = float(counts[id]) * labels.grid.voxel_ml
        known = counts[id] and value is not None and math.isfinite(value)
        facts[name] = OrganFacts(volume_ml, id in at_border, value if known else None)
    return facts
