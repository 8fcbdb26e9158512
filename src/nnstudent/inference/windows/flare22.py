"""The FLARE22 winner's thinned sliding window, which the paper uses, with its faults.

The faults: whatever lies more than a patch from the image's center along y or x is never seen, the
center window's foreground is discarded if it is small, and a neighbor along z is skipped unseen.
:mod:`nnstudent.inference.windows.guided` has none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from nnstudent.inference.labels.scores import best_channel
from nnstudent.inference.windows.accumulator import WindowLogits
from nnstudent.inference.windows.sliding import Canvas, Planner, RunWindow, starts_along

TUBES = ("aorta", "inferior_vena_cava", "esophagus")
_FEW = 1000  # fewer foreground voxels than this count as none
_FEW_BELOW = 500
_TOUCHES = 10  # a tube with more voxels than this on a face of the window touches it


def flare22(*, tubes: Collection[int]) -> Planner:
    """The winner's planner.

    Args:
        tubes: Channels of the classes that extend beyond the abdomen: aorta, vena cava, esophagus.
    """
    allowed = [0, *tubes]

    def planner(canvas: Canvas, run_window: RunWindow) -> None:
        size, patch = canvas.image.shape, canvas.patch
        first_y, middle_y, last_y = three(size[1], patch[1])
        first_x, middle_x, last_x = three(size[2], patch[2])
        skip = False
        for z in starts_along(size[0], patch[0]):
            if skip:
                skip = False
                continue
            found = best_channel(
                run_window((z, middle_y, middle_x), keep=_enough(patch[1])).whole()
            )
            skip = int(np.count_nonzero(found)) < _FEW
            if skip or _empty_below(found, patch[1]):
                continue
            around = [
                (y, x) for y in (first_y, middle_y, last_y) for x in (first_x, middle_x, last_x)
            ]
            if np.isin(found, allowed).all():
                front, back = (int(np.count_nonzero(found[:, face])) > _TOUCHES for face in (0, -1))
                around = [
                    (y, middle_x) for y, touched in ((first_y, front), (last_y, back)) if touched
                ]
            # An image no larger than the patch has the same window three times; the original fails.
            for y, x in sorted(set(around) - {(middle_y, middle_x)}):
                run_window((z, y, x))

    return planner


def three(size: int, patch: int) -> tuple[int, int, int]:
    """The three starts along y or x; there are no more, however large the image is."""
    if size > 2 * patch:
        first, middle, last = (int(round(size / 2) - share * patch) for share in (1.0, 0.5, 0.0))
        return first, middle, last
    return 0, round((size - patch) / 2), size - patch


def _enough(patch_y: int) -> Callable[[WindowLogits], bool]:
    def keep(logits: WindowLogits) -> bool:
        found = best_channel(logits.whole())
        return int(np.count_nonzero(found)) >= _FEW and not _empty_below(found, patch_y)

    return keep


def _empty_below(found: np.typing.NDArray[np.uint8], patch_y: int) -> bool:
    # Meant for the front of the body, but cuts z by the size of y: never true with a flat patch.
    return int(np.count_nonzero(found[: int(0.6 * patch_y)])) < _FEW_BELOW
