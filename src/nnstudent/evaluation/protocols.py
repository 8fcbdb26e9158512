"""What is counted how: the protocols ``strict`` and ``flare23``, and the score of one case under them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError
from nnstudent.evaluation.metrics import around_both, dsc, nsd
from nnstudent.taxonomy import LabelClass
from nnstudent.volume import Box, Spacing

LabelMap = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Protocol:
    """How scores are computed and averaged; ``docs/reference/metrics.md`` shows what each quirk changes.

    Attributes:
        name: What it is called in commands and reports.
        decimals: Decimals that each score and mean is rounded to; None for no rounding.
        nsd_needs_dsc: DSC below which NSD is 0 without being computed.
        truth_slices_only: Classes scored only on the slices where the truth has them, the last of these excluded. Slices
            are those of the file's third axis as stored.
        as_stored: Whether files are taken as the organisers' script takes them: only shapes are compared and not where the grids
            lie, and the spacing is that of the header's own field.
    """

    name: str
    decimals: int | None = None
    nsd_needs_dsc: float = 0.0
    truth_slices_only: frozenset[str] = frozenset()
    as_stored: bool = False

    def rounded(self, value: float) -> float:
        """A score as the protocol reports it."""
        # numpy's rounding, as the organisers' script has it: Python's differs in the last decimal now and then
        return value if self.decimals is None else float(np.round(np.float64(value), self.decimals))

    def mean(self, values: Iterable[float]) -> float:
        """Mean as the protocol reports it; NaN if there is no value, or one is NaN."""
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
        InputError: There is none.
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
    prediction: LabelMap,
    truth: LabelMap,
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
        item: The class; its tolerance is the NSD's.
        boxes: The box around the class in the prediction and in the truth, None where it is empty.
        spacing_mm: Distance between voxel centres along (z, y, x), in mm.
        protocol: What is counted how.
    """
    predicted, true = boxes
    box = around_both(predicted, true)
    if box is None:
        return ClassScore(1.0, 1.0)
    if predicted is None or true is None:
        return ClassScore(0.0, 0.0)
    if item.name in protocol.truth_slices_only:
        box = (slice(true[0].start, true[0].stop - 1), box[1], box[2])
        if box[0].start == box[0].stop:  # a truth of one slice leaves none: 0/0
            return ClassScore(math.nan, math.nan)
    one, other = prediction[box] == item.id, truth[box] == item.id
    if protocol.as_stored:
        # Axes (x, y, z), as the script sees them: where distances tie, the order of the axes decides how they are rounded.
        one, other, spacing_mm = one.T, other.T, spacing_mm[::-1]
    overlap = dsc(one, other)
    if overlap < protocol.nsd_needs_dsc:
        return ClassScore(protocol.rounded(overlap), 0.0)
    surface = nsd(one, other, spacing_mm=spacing_mm, tolerance_mm=item.nsd_mm)
    return ClassScore(protocol.rounded(overlap), protocol.rounded(surface))
