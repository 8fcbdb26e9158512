"""Hard negatives: batches with false-positive lesions are shown again while the network learns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_KEPT = 16  # batches to choose from, each of some megabytes


@dataclass(eq=False)
class HardBatch:
    """A batch with false-positive lesions.

    Attributes:
        image: (sample, channel, z, y, x).
        targets: Labels at each resolution of the loss.
        cases: The case of each sample.
        false: False-positive lesion voxels when it was last seen.
    """

    image: Tensor
    targets: list[Tensor]
    cases: list[str]
    false: int


class Replay:
    """Keeps the batches with the most false-positive lesion voxels and sometimes replays one.

    A batch that was replayed is judged again, so that what has been learned makes room for what
    has not. Shrivastava et al., "Training region-based object detectors with online hard example
    mining", CVPR 2016, choose among the regions of one batch; this class chooses among many
    earlier batches.
    """

    def __init__(self, p: float, *, lesions: Collection[int], least: int = 20) -> None:
        """Start with no batch.

        Args:
            p: Share of steps in which a kept batch takes the place of a new one.
            lesions: Channels of the lesion classes.
            least: False-positive voxels from which a batch is kept.
        """
        self._p, self._lesions, self._least = p, sorted(lesions), least
        self._kept: list[HardBatch] = []

    def draw(self) -> HardBatch | None:
        """Take a kept batch out; None if the step should use a new one."""
        # From the global random state, as nnU-Net's transforms do.
        if not self._kept or np.random.uniform() >= self._p:  # noqa: NPY002
            return None
        return self._kept.pop(int(np.random.randint(len(self._kept))))  # noqa: NPY002

    def record(
        self,
        image: Tensor,
        targets: Sequence[Tensor],
        cases: Sequence[str],
        logits: Tensor,
        possible: Tensor | None,
    ) -> int:
        """Keep a batch if it is among the hardest.

        Args:
            image: (sample, channel, z, y, x).
            targets: Labels at each resolution of the loss, finest first, (sample, item, z, y, x).
            cases: The case of each sample.
            logits: The network's output at the finest resolution, (sample, class, z, y, x).
            possible: What the labels leave open, (sample, label, class); None for nothing.

        Returns:
            False-positive lesion voxels.
        """
        false = self.false_positives(logits, targets[0][:, 0].long(), possible)
        if false < self._least:
            return false
        self._kept.append(HardBatch(image, list(targets), list(cases), false))
        self._kept.sort(key=lambda one: -one.false)
        del self._kept[_KEPT:]
        return false

    def false_positives(self, logits: Tensor, labels: Tensor, possible: Tensor | None) -> int:
        """Count the voxels whose most probable class is a lesion that cannot be there."""
        predicted = torch.isin(logits.argmax(1), torch.tensor(self._lesions, device=logits.device))
        known = labels < logits.shape[1]  # the ignore label is higher
        wrong = (
            predicted
            & known
            & ~torch.isin(labels, torch.tensor(self._lesions, device=labels.device))
        )
        if possible is not None:
            sample = torch.arange(len(labels), device=labels.device)[:, None, None, None]
            open_here = possible[:, :, self._lesions].any(2)[sample, labels.where(known, 0)]
            wrong &= ~open_here
        return int(wrong.sum())
