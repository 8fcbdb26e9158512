"""Class scores on a network's grid, with all that restoring them to the image needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from nnstudent.bundle.spec import Resampling
from nnstudent.errors import GeometryError, InputError
from nnstudent.inference.grid.preprocess import Frame
from nnstudent.types import Float32Array
from nnstudent.volume import Spacing


@dataclass(frozen=True, eq=False)
class ClassScores:
    """A network's scores of every class for every voxel of its grid.

    Attributes:
        values: Scores (class, z, y, x) in the network's axes, float32; a slab has some planes only.
        kind: ``logits``, or ``probabilities`` that sum to 1.
        classes: Class name by channel; channel 0 is background.
        ids: Id in a label map by channel; 0 for background.
        spacing_mm: Spacing of the network's grid, in its axes.
        resampling: How scores are resampled to the image's grid.
        frame: How the network's grid lies in the image.
        windows: How many windows ran.
        regions: Whether classes may overlap, see :class:`~nnstudent.bundle.spec.NetworkSpec`.
        first: Index of the first plane that a slab holds.
        slab: Whether this is a slab.

    Raises:
        GeometryError: The array does not have the frame's shape.
    """

    values: Float32Array
    kind: Literal["logits", "probabilities"]
    classes: tuple[str, ...]
    ids: tuple[int, ...]
    spacing_mm: Spacing
    resampling: Resampling
    frame: Frame
    windows: int = 0
    regions: bool = False
    first: int = 0
    slab: bool = False

    def __post_init__(self) -> None:
        planes = self.values.shape[1] if self.slab else self.frame.shape[0]
        if self.values.shape != (len(self.classes), planes, *self.frame.shape[1:]) or len(
            self.ids
        ) != len(self.classes):
            raise GeometryError(
                f"scores of shape {self.values.shape}; expected {len(self.classes)} classes on "
                f"{self.frame.shape} voxels"
            )

    def probabilities(self) -> ClassScores:
        """The same as probabilities: softmax over the classes, or with regions each one's sigmoid.

        With regions, background's logit is 0 and its probability a half.
        """
        if self.kind == "probabilities":
            return self
        values = np.empty_like(self.values)
        if self.regions:
            for channel, logits in enumerate(self.values):
                values[channel] = _sigmoid(logits)
            return replace(self, values=values, kind="probabilities")
        for z in range(values.shape[1]):  # plane by plane, to need no temporary array as large
            plane = np.exp(self.values[:, z] - self.values[:, z].max(axis=0))
            values[:, z] = plane / plane.sum(axis=0)
        return replace(self, values=values, kind="probabilities")


def _sigmoid(logits: Float32Array) -> Float32Array:
    half: Float32Array = 0.5 * np.tanh(0.5 * logits) + 0.5
    return half


def best_channel(values: Float32Array, *, regions: bool = False) -> npt.NDArray[np.uint8]:
    """The channel of the highest value of each voxel, the first of equals, in one sweep.

    With regions it is the last channel whose value is above that of channel 0, as in nnU-Net.
    """
    channel = np.zeros(values.shape[1:], np.uint8)
    for z in range(values.shape[1]):
        top = values[0, z].copy()
        for k in range(1, len(values)):
            better = values[k, z] > top
            channel[z][better] = k
            if not regions:
                np.maximum(top, values[k, z], out=top)
    return channel


def mean_scores(scores: Iterable[ClassScores]) -> ClassScores:
    """The mean of an ensemble's scores; only two are held at a time.

    Args:
        scores: The scores of each member.

    Raises:
        InputError: There are no scores, or they differ in kind or classes.
        GeometryError: The scores are on different grids.
    """
    total: ClassScores | None = None
    count = 0
    for item in scores:
        count += 1
        if total is None:
            total = replace(item, values=item.values.copy())
            continue
        if item.kind != total.kind or item.classes != total.classes:
            raise InputError(
                f"scores of {item.classes} ({item.kind}) cannot be averaged with {total.classes} "
                f"({total.kind})"
            )
        if item.frame.shape != total.frame.shape:
            raise GeometryError(
                f"scores on {item.frame.shape} voxels cannot be averaged with {total.frame.shape}"
            )
        total.frame.grid.require(
            item.frame.grid,
            what="the image of some scores",
            of="that of the others",
            advice="average scores of one image",
        )
        total.values[...] += item.values
        total = replace(total, windows=total.windows + item.windows)
    if total is None:
        raise InputError("no scores to average; give at least one")
    if count > 1:
        total.values[...] /= count
    return total
