"""Protocols: how the scores of a case are computed and averaged (``strict`` and ``flare23``)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nnstudent.errors import InputError
from nnstudent.evaluation.metrics import dsc, enclosing_box, nsd
from nnstudent.taxonomy import LabelClass
from nnstudent.types import LabelArray
from nnstudent.volume import Box, Spacing


@dataclass(frozen=True)
class Protocol:
    """How scores are computed and averaged.

    ``docs/reference/metrics.md`` shows what each peculiarity of ``flare23`` changes.

    Attributes:
        name: Name in commands and reports.
        decimals: Decimals that each score and mean is rounded to; None for no rounding.
        nsd_needs_dsc: DSC below which NSD is 0 without being computed.
        truth_slices_only: Classes that are scored only on the slices where the truth has them,
            except for the last of these. Slices run along the file's third axis as stored.
        as_stored: Whether files are compared as the organizers' script does it: the shapes of the
            grids must agree but not their positions, and the spacing is that of the header's own
            field.
    """

    name: str
    decimals: int | None = None
    nsd_needs_dsc: float = 0.0
    truth_slices_only: frozenset[str] = frozenset()
    as_stored: bool = False

    def rounded(self, value: float) -> float:
        """A score as the protocol reports it."""
        # numpy rounds as the organizers' script does; Python may differ in the last decimal.
        return value if self.decimals is None else float(np.round(np.float64(value), self.decimals))

    def mean(self, values: Iterable[float]) -> float:
        """The mean as the protocol reports it; NaN if there is no value or one is NaN."""
        given = list(values)
        return self.rounded(float(np.mean(given))) if given else math.nan


STRICT = Protocol("strict")
FLARE23 = Protocol(
    "flare23",
    decimals=4,
    nsd_needs_dsc=0.2,
    truth_slices_only=frozenset({"aorta", "inferior_vena_cava", "esophagus"}),
    as_stored=True,
)
PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in (STRICT, FLARE23)}


def find_protocol(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        InputError: No protocol has this name.
    """
    if name not in PROTOCOLS:
        raise InputError(f"no protocol {name!r}; choose one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


@dataclass(frozen=True)
class ClassScore:
    """DSC and NSD of one class in one case, 0 to 1 or NaN."""

    dsc: float
    nsd: float


def score(
    prediction: LabelArray,
    truth: LabelArray,
    *,
    item: LabelClass,
    boxes: tuple[Box | None, Box | None],
    spacing_mm: Spacing,
    protocol: Protocol,
) -> ClassScore:
    """Score one class of one case.

    Args:
        prediction: Label map, (z, y, x) as stored in the file.
        truth: Label map of the same shape.
        item: The class, which also has the tolerance of the NSD.
        boxes: Bounding boxes of the class in the prediction and in the truth; None if it is absent.
        spacing_mm: Distance between voxel centers along (z, y, x), in mm.
        protocol: How scores are computed.
    """
    predicted, true = boxes
    box = enclosing_box(predicted, true)
    if box is None:
        return ClassScore(1.0, 1.0)
    if predicted is None or true is None:
        return ClassScore(0.0, 0.0)
    if item.name in protocol.truth_slices_only:
        box = (slice(true[0].start, true[0].stop - 1), box[1], box[2])
        if (
            box[0].start == box[0].stop
        ):  # without its last slice, a truth of one slice is empty: 0/0
            return ClassScore(math.nan, math.nan)
    one, other = prediction[box] == item.id, truth[box] == item.id
    if protocol.as_stored:
        # Axes (x, y, z) as in the script: if distances tie, the order of axes decides the rounding.
        one, other, spacing_mm = one.T, other.T, spacing_mm[::-1]
    overlap = dsc(one, other)
    if overlap < protocol.nsd_needs_dsc:
        return ClassScore(protocol.rounded(overlap), 0.0)
    surface = nsd(one, other, spacing_mm=spacing_mm, tolerance_mm=item.nsd_mm)
    return ClassScore(protocol.rounded(overlap), protocol.rounded(surface))
