"""The probability of each voxel's label and the second most probable label, on the image's grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nnstudent.inference.grid.resample import apply_along, axis_orders, neighbors, operator
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.types import Float32Array
from nnstudent.volume import Volume


def label_probability(
    labels: Volume, scores: ClassScores, *, slab_mm: float = 32.0
) -> npt.NDArray[np.uint8]:
    """The probability of each voxel's label, interpolated as the label itself was.

    Works slab by slab, on the classes in each slab only, so that an array of all classes at full
    size never exists.

    Args:
        labels: Labels that were restored from the scores; their values are among ``scores.ids``.
        scores: Scores on the network's grid; logits are turned into probabilities.
        slab_mm: Thickness of one slab, in mm.

    Returns:
        0 for impossible to 255 for certain, on the grid of ``labels``, uint8. Voxels that were
        cropped away before the network ran are certain.

    Raises:
        GeometryError: The scores are not of an image on that grid.
    """
    frame = scores.frame
    frame.grid.require(
        labels.grid,
        what="the label map",
        of="the image of the scores",
        advice="give both of the same image",
    )
    values = scores.probabilities().values
    certain = np.full(labels.array.shape, 255, np.uint8)
    target, stored = frame.view(certain), frame.view(labels.array)
    orders = axis_orders(scores.resampling, scores.spacing_mm, frame.spacing_mm)
    along_z, along_y, along_x = (
        operator(old, new, order)
        for old, new, order in zip(frame.shape, target.shape, orders, strict=True)
    )
    thick = max(1, round(slab_mm / frame.spacing_mm[0]))
    for first in range(0, len(target), thick):
        slab = slice(first, first + thick)
        for id in np.flatnonzero(np.bincount(stored[slab].ravel())):
            channels = [
                channel for channel, meant in enumerate(scores.ids) if meant == id
            ]  # several may share one
            planes: Float32Array = np.sum(
                [apply_along(along_z[slab], values[channel], 0) for channel in channels],
                axis=0,
                dtype=np.float32,
            )
            probability = apply_along(along_x, apply_along(along_y, planes, 1), 2)
            here = stored[slab] == id
            target[slab][here] = np.rint(
                255 * np.clip(probability[here], 0, 1)
            )  # splines overshoot
    return certain


def runner_up_labels(labels: Volume, scores: ClassScores) -> npt.NDArray[np.uint8]:
    """The most probable label other than the given one, at the nearest voxel of the network's grid.

    Args:
        labels: As in :func:`label_probability`.
        scores: Scores on the network's grid.

    Returns:
        Labels on the grid of ``labels``, uint8; 0 where the image was cropped away before the
        network ran.
    """
    ids = np.unique(np.array(scores.ids, np.uint8))
    values = scores.probabilities().values
    first, second = (np.zeros(values.shape[1:], np.uint8) for _ in range(2))
    for z in range(values.shape[1]):  # plane by plane, to need no second array of all classes
        plane = np.stack(
            [values[[meant == id for meant in scores.ids], z].sum(axis=0) for id in ids]
        )
        for found in (first, second):
            best = plane.argmax(axis=0)
            found[z] = ids[best]
            np.put_along_axis(plane, best[np.newaxis], -1, axis=0)
    runner_up = np.zeros(labels.array.shape, np.uint8)
    target = scores.frame.view(runner_up)
    nearest = np.ix_(
        *(
            neighbors(old, new, 0)[0]
            for old, new in zip(scores.frame.shape, target.shape, strict=True)
        )
    )
    best, next_best = first[nearest], second[nearest]
    target[...] = np.where(best == scores.frame.view(labels.array), next_best, best)
    return runner_up
