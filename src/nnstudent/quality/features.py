"""What can be measured of a segmented organ without knowing the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nnstudent.serialization import from_plain

NAN = math.nan


@dataclass(frozen=True)
class OrganFeatures:
    """Measurements of one organ that was found; NaN for what could not be measured.

    Attributes:
        volume_ml: Its volume.
        soft_dice: Dice of the labels and the network's probabilities: the Dice that is expected
            if the probabilities are right.
        confidence: Mean probability of the organ over its own voxels.
        doubtful: Share of its own voxels with a probability below 0.75.
        entropy: Mean entropy of that probability over its own voxels, in bits.
        edge_entropy: The same over the voxels at its border.
        agreement: Dice of the organ in overlapping windows: in the newest window and in the
            windows before it.
        kept: Volume after post-processing divided by the volume before.
        pieces: Number of connected pieces.
        largest: Share of the largest piece.
        holes: Volume of the holes divided by its own.
        roughness: Surface divided by that of a ball of the same volume.
        contact: Share of its surface that touches other organs.
        mean_hu: Mean density, in HU.
        sd_hu: Standard deviation of the density, in HU.
        touches_border: 1 if it touches the border of the scanned part, otherwise 0.
        right_mm: Where its centroid lies: towards the patient's right, in mm.
        front_mm: Towards the front.
        up_mm: Towards the head.
    """

    volume_ml: float
    soft_dice: float = NAN
    confidence: float = NAN
    doubtful: float = NAN
    entropy: float = NAN
    edge_entropy: float = NAN
    agreement: float = NAN
    kept: float = NAN
    pieces: float = NAN
    largest: float = NAN
    holes: float = NAN
    roughness: float = NAN
    contact: float = NAN
    mean_hu: float = NAN
    sd_hu: float = NAN
    touches_border: float = NAN
    right_mm: float = NAN
    front_mm: float = NAN
    up_mm: float = NAN

    @property
    def place_mm(self) -> tuple[float, float, float]:
        """Where the centroid lies, towards right, front and head."""
        return self.right_mm, self.front_mm, self.up_mm


@dataclass(frozen=True)
class CaseFeatures:
    """Measurements of one segmented scan.

    Attributes:
        organs: Features of each class that was found, by name.
        absent: Classes that were looked for and not found.
        slice_mm: The coarsest spacing of the image, in mm.
        warnings: Number of warnings about the image.
        noise_hu: Noise of the image inside the organs, in HU.
        center_mm: Middle of the image, towards right, front and head, in mm.
        extent_mm: Half the size of the image along these directions, in mm.
    """

    organs: Mapping[str, OrganFeatures]
    absent: tuple[str, ...] = ()
    slice_mm: float = NAN
    warnings: int = 0
    noise_hu: float = NAN
    center_mm: tuple[float, float, float] = (NAN, NAN, NAN)
    extent_mm: tuple[float, float, float] = field(default=(NAN, NAN, NAN))

    def to_dict(self) -> dict[str, Any]:
        """The features as plain data; what could not be measured is None."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str) -> CaseFeatures:
        """Read what :meth:`to_dict` returned.

        Raises:
            InputError: A value is of the wrong type.
        """
        features: CaseFeatures = from_plain(cls, _with_nan(data), where=where)
        return features


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _with_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nan(item) for item in value]
    return NAN if value is None else value
