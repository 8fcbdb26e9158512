"""Where windows lie, how they are weighed, and the sum of their logits: nnU-Net's sliding window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from scipy import ndimage

from nnstudent.errors import InputError
from nnstudent.inference.resample import Floats
from nnstudent.progress import Progress, silent
from nnstudent.volume import Shape

# A planner says from the padded image and the patch at which voxels windows start; dense ones cover everything.
Planner = Callable[[Floats, Shape], Sequence[Shape]]


def dense(image: Floats, patch: Shape, *, step: float = 0.5) -> list[Shape]:
    """Windows over the whole image, evenly spread, at most ``step`` patches apart, as nnU-Net lays them.

    Args:
        image: Values, at least as large as the patch along each axis.
        patch: Size of a window.
        step: Largest distance between neighbours, in patches.

    Returns:
        First voxel of each window.
    """
    starts: list[list[int]] = []
    for size, window in zip(image.shape, patch, strict=True):
        count = math.ceil((size - window) / (window * step)) + 1
        distance = (size - window) / (count - 1) if count > 1 else 0.0
        starts.append([round(distance * k) for k in range(count)])
    return list(itertools.product(*starts))  # type: ignore[arg-type]  # three axes


@lru_cache(maxsize=8)
def gaussian(patch: Shape) -> Floats:
    """Weight of each voxel of a window: a Gaussian of an eighth of the patch, 10 at the centre, nowhere 0.

    Rounded to float16 as nnU-Net does, so that the same voxels get the same weight.
    """
    impulse = np.zeros(patch)
    impulse[tuple(size // 2 for size in patch)] = 1
    weight = ndimage.gaussian_filter(impulse, [size / 8 for size in patch], order=0, mode="constant", cval=0)
    half = (weight * (10 / weight.max())).astype(np.float16)
    half[half == 0] = half[half > 0].min()
    weights: Floats = half.astype(np.float32)
    return weights


def pad(image: Floats, patch: Shape) -> tuple[Floats, tuple[slice, slice, slice]]:
    """Centre an image that is smaller than the patch in zeros; also where it then lies."""
    lacking = [max(0, window - size) for size, window in zip(image.shape, patch, strict=True)]
    place = [slice(more // 2, more // 2 + size) for more, size in zip(lacking, image.shape, strict=True)]
    where = (place[0], place[1], place[2])
    if not any(lacking):
        return image, where
    padded = np.zeros(tuple(size + more for size, more in zip(image.shape, lacking, strict=True)), np.float32)
    padded[where] = image
    return padded, where


def slide(
    image: Floats,
    network: Callable[[Floats], Floats],
    *,
    patch: Shape,
    classes: int,
    planner: Planner = dense,
    progress: Progress = silent,
) -> tuple[Floats, int]:
    """Run a network over an image window by window and average the logits where windows overlap.

    Args:
        image: Values on the network's grid, (z, y, x).
        network: From a window (z, y, x) to logits (class, z, y, x).
        patch: Size of a window.
        classes: How many classes the network gives.
        planner: Where windows start.
        progress: Told after each window.

    Returns:
        Logits (class, z, y, x) on the image's grid, and how many windows ran. Where no window was, background is certain.

    Raises:
        InputError: The network gives what is not finite.
    """
    padded, where = pad(image, patch)
    starts = planner(padded, patch)
    weight = gaussian(patch)
    total = np.zeros((classes, *padded.shape), np.float32)
    weights = np.zeros(padded.shape, np.float32)
    for done, start in enumerate(starts, start=1):
        z, y, x = (slice(first, first + size) for first, size in zip(start, patch, strict=True))
        window = np.ascontiguousarray(padded[z, y, x])
        logits = network(window)
        # One class at a time: the product of all of them would be a second array as large as the logits.
        for channel in range(classes):
            total[channel, z, y, x] += logits[channel] * weight
        weights[z, y, x] += weight
        progress("windows", done, len(starts))
    unseen = weights == 0
    if unseen.any():
        total[0][unseen], weights[unseen] = 1, 1
    total /= weights
    if not (math.isfinite(float(total.max())) and math.isfinite(float(total.min()))):
        raise InputError("the network gives logits that are not finite; its weights are broken, take another checkpoint")
    return total[(slice(None), *where)], len(starts)
