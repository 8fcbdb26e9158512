"""All measurements of one segmented scan."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from nnstudent.inference.labels.organs import OrganFacts
from nnstudent.inference.quality.shapes import coarsen, noise_hu, shape_features
from nnstudent.quality.features import NAN, CaseFeatures, OrganFeatures
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Grid, Volume


def case_features(
    image: Volume,
    labels: Volume,
    *,
    taxonomy: Taxonomy,
    organs: Mapping[str, OrganFacts],
    evidence: Mapping[str, Mapping[str, float]],
    warnings: Collection[str] = (),
) -> CaseFeatures:
    """Measure a segmented scan.

    Args:
        image: The image, in HU for CT.
        labels: Its label map, on the same grid.
        taxonomy: The label table of ``labels``.
        organs: Facts about each class, see
            :func:`~nnstudent.inference.labels.organs.organ_facts`.
        evidence: What the network's scores say of each class, see
            :meth:`~nnstudent.inference.quality.evidence.Evidence.features`.
        warnings: Warnings about the image.
    """
    coarse = coarsen(image, labels)
    shapes = shape_features(coarse)
    measured = {}
    for name, facts in organs.items():
        if facts.volume_ml <= 0:
            continue
        scores: dict[str, Any] = dict(evidence.get(name, {}))
        network_ml = scores.pop("network_ml", 0.0)
        measured[name] = OrganFeatures(
            volume_ml=facts.volume_ml,
            kept=facts.volume_ml / network_ml if network_ml else NAN,
            touches_border=float(facts.touches_border),
            **scores,
            **shapes.get(taxonomy[name].id, {}),
        )
    center, extent = _field_of_view(image.grid)
    return CaseFeatures(
        measured,
        absent=tuple(name for name in organs if name not in measured),
        slice_mm=max(image.grid.spacing_mm),
        warnings=len(warnings),
        noise_hu=noise_hu(coarse),
        center_mm=center,
        extent_mm=extent,
    )


def _field_of_view(
    grid: Grid,
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Middle of the image and half its size along the patient's axes, in mm."""
    corners = np.array(np.meshgrid(*((0, n - 1) for n in reversed(grid.shape)))).reshape(3, -1)
    world = grid.affine[:3, :3] @ corners + grid.affine[:3, 3:]
    low, high = world.min(axis=1), world.max(axis=1)
    middle, half = (low + high) / 2, (high - low) / 2
    return (
        (float(middle[0]), float(middle[1]), float(middle[2])),
        (float(half[0]), float(half[1]), float(half[2])),
    )
