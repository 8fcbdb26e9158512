"""What a label map says of each organ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nnstudent.inference.checks import ids_at_border
from nnstudent.inference.labels.run_length import voxel_counts
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume


@dataclass(frozen=True)
class OrganFacts:
    """What is known of one class in one image.

    Attributes:
        volume_ml: Its volume; 0 if it was not found.
        touches_border: Whether it reaches the border of the image, or of what was scanned of it, so that it may go on beyond.
        confidence: Mean probability that the network gives it over its own voxels on the network's grid; None if not found.
    """

    volume_ml: float
    touches_border: bool
    confidence: float | None


def organ_facts(
    image: Volume, labels: Volume, taxonomy: Taxonomy, confidence: Mapping[str, float | None]
) -> dict[str, OrganFacts]:
    """Volume and whether it touches the border, of each class that ``confidence`` names.

    Args:
        image: The image.
        labels: Its label map.
        taxonomy: Its label table.
        confidence: By class name.
    """
    counts = voxel_counts(labels.array)
    at_border = ids_at_border(image, labels.array)
    facts: dict[str, OrganFacts] = {}
    for name, certain in confidence.items():
        id = taxonomy[name].id
        present = bool(counts[id])
        facts[name] = OrganFacts(
            float(counts[id]) * labels.grid.voxel_ml, id in at_border, certain if present else None
        )
    return facts
