"""CutMix: a box of one training window, with its labels, is replaced by that of another."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from torch import Tensor

from nnstudent.volume import Box


def random_box(shape: Sequence[int], step: Sequence[int], *, share: float) -> Box:
    """Draw a box of about this share of a window, anywhere in it.

    Args:
        shape: Voxels of the window, (z, y, x).
        step: Corners and sizes are multiples of this, (z, y, x), so that the box is whole at each
            resolution of the loss.
        share: Share of the window's volume, 0 to 1.
    """
    corners = []
    for size, unit in zip(shape, step, strict=True):
        units = size // unit
        length = min(units, max(1, round(units * share ** (1 / 3))))
        start = int(np.random.randint(units - length + 1))  # noqa: NPY002  # as nnU-Net does
        corners.append(slice(start * unit, (start + length) * unit))
    return corners[0], corners[1], corners[2]


class CutMix:
    """Mixes each window with the last one that has the same classes annotated.

    The partner comes from an earlier batch, so that a batch of one can be mixed too. The idea
    comes from Yun et al., "CutMix", ICCV 2019. Only windows that leave the same classes open are
    mixed: the loss for partial labels knows by sample, not by voxel, what is annotated.
    """

    def __init__(self, p: float, step: Sequence[int]) -> None:
        """Start with nothing to mix with.

        Args:
            p: Share of windows that are mixed.
            step: See :func:`random_box`.
        """
        self._p, self._step = p, step
        self._last: dict[Hashable, tuple[Tensor, list[Tensor]]] = {}

    def __call__(
        self, image: Tensor, targets: Sequence[Tensor], profiles: Sequence[Hashable]
    ) -> None:
        """Mix a batch in place.

        Args:
            image: (sample, channel, z, y, x).
            targets: Labels at each resolution of the loss, finest first, (sample, 1, z, y, x).
            profiles: By sample, what its case has annotated.
        """
        for number, profile in enumerate(profiles):
            partner = self._last.get(profile)
            own = image[number].clone(), [target[number].clone() for target in targets]
            if partner is not None and np.random.uniform() < self._p:  # noqa: NPY002
                box = random_box(image.shape[2:], self._step, share=np.random.uniform(0.1, 0.5))  # noqa: NPY002
                _paste(image[number], partner[0], box, image.shape[2:])
                for target, other in zip(targets, partner[1], strict=True):
                    _paste(target[number], other, box, image.shape[2:])
            self._last[profile] = own


def _paste(onto: Tensor, other: Tensor, box: Box, shape: Sequence[int]) -> None:
    """Copy a box, given in voxels of the finest resolution, at the resolution of these arrays."""
    factors = [whole // own for whole, own in zip(shape, onto.shape[1:], strict=True)]
    z, y, x = (
        slice(part.start // factor, part.stop // factor)
        for part, factor in zip(box, factors, strict=True)
    )
    onto[:, z, y, x] = other[:, z, y, x]
