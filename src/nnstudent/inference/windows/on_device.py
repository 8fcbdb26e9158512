"""The sliding window of a torch engine on its device: logits reach the processor's memory once.

A window's logits take 100 MB and a scan has hundreds of windows, so that carrying each of them over
takes longer than the network does. The result is that of :func:`~.sliding.slide` with ``dense``.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from nnstudent.errors import InputError
from nnstudent.inference.engines.torch import TorchEngine
from nnstudent.inference.windows.accumulator import gaussian
from nnstudent.inference.windows.sliding import dense_starts, pad
from nnstudent.progress import Progress, silent
from nnstudent.types import Float32Array
from nnstudent.volume import Shape

log = logging.getLogger(__name__)
T = TypeVar("T")


def slide_on_device(
    image: Float32Array,
    engines: Sequence[TorchEngine],
    *,
    patch: Shape,
    classes: int,
    mirror_axes: Sequence[int] = (),
    progress: Progress = silent,
) -> Any:
    """Run networks over an image window by window and average overlapping logits on the device.

    Args:
        image: Values on the networks' grid, (z, y, x).
        engines: The members of an ensemble, on one device; their mean is taken window by window.
        patch: Size of a window, in voxels.
        classes: Number of classes.
        mirror_axes: Axes along whose subsets each window is also run mirrored.
        progress: Called after each window.

    Returns:
        Mean logits (class, z, y, x), float32, a tensor on the device.

    Raises:
        InputError: The network's output is not finite.
    """
    import torch  # only torch engines come here

    device = engines[0].device
    padded, place = pad(image, patch)
    with torch.inference_mode():
        values = torch.from_numpy(padded).to(device)
        weight = torch.from_numpy(gaussian(patch)).to(device)
        sums = torch.zeros((classes, *padded.shape), device=device)
        weights = torch.zeros(padded.shape, device=device)
        starts = dense_starts(padded.shape, patch)
        for ran, start in enumerate(starts, 1):
            box = tuple(slice(at, at + size) for at, size in zip(start, patch, strict=True))
            logits = _mean(values[box].contiguous(), engines, mirror_axes)
            sums[(slice(None), *box)] += logits * weight
            weights[box] += weight
            progress("windows", ran, len(starts))
        sums /= weights
        if not (math.isfinite(float(sums.max())) and math.isfinite(float(sums.min()))):
            raise InputError(
                "the network gives logits that are not finite; its weights are broken, "
                "take another checkpoint"
            )
        return sums[(slice(None), *place)]


def _mean(window: Any, engines: Sequence[TorchEngine], mirror_axes: Sequence[int]) -> Any:
    """Mean logits of a window over engines and mirror images."""
    mirrored = [
        axes
        for count in range(len(mirror_axes) + 1)
        for axes in itertools.combinations(mirror_axes, count)
    ]
    total: Any = None
    for engine in engines:
        for axes in mirrored:
            logits = engine.run(window.flip(axes) if axes else window)
            if axes:
                logits = logits.flip([axis + 1 for axis in axes])
            total = logits if total is None else total + logits
    return total / (len(engines) * len(mirrored))


def sums_on_device(engines: Sequence[Any], *, windows: str) -> bool:
    """Whether :func:`slide_on_device` runs these engines."""
    return windows == "dense" and all(
        isinstance(engine, TorchEngine) and engine.sums_on_device for engine in engines
    )


def or_on_host(on_device: Callable[[], T], on_host: Callable[[], T]) -> T:
    """Return the result of the first, or where it does not fit in the device's memory, the second.

    Args:
        on_device: Keeps all class scores of an image on the device.
        on_host: Keeps them in the processor's memory, which takes longer.
    """
    import torch  # only torch engines come here

    try:
        return on_device()
    except torch.cuda.OutOfMemoryError:
        log.warning(
            "the class scores of this image do not fit in the device's memory; they are summed in "
            "the processor's, which takes longer"
        )
    # Only here is the memory of the failed attempt released.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return on_host()
