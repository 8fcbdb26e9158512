"""Windows in which a lesion was invented, shown again: hard negatives, mined while the network learns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_KEPT = 16  # batches to choose from, each of some megabytes


@dataclass(eq=False)
class Hard:
    """A batch that was hard.

    Attributes:
        image: (sample, channel, z, y, x).
        targets: Labels at each resolution of the loss.
        cases: Whose windows they are.
        false: Voxels in which a lesion was invented when it was last seen.
    """

    image: Tensor
    targets: list[Tensor]
    cases: list[str]
    false: int


class Replay:
    """Keeps the batches with the most invented lesion and hands one out in place of a new one, now and then.

    A batch that was handed out is judged anew, so that what has been learned makes room for what has not. Shrivastava et al., "Training
    region-based object detectors with online hard example mining", CVPR 2016, choose among the regions of one batch; here it is among
    those of the last many.
    """

    def __init__(self, p: float, *, lesions: Collection[int], least: int = 20) -> None:
        """Begin with nothing.

        Args:
            p: How often a kept batch takes the place of a new one.
            lesions: Channels of the lesion classes.
            least: Voxels of invented lesion from which a batch is kept.
        """
        self._p, self._lesions, self._least = p, sorted(lesions), least
        self._kept: list[Hard] = []

    def draw(self) -> Hard | None:
        """A kept batch, which is no longer kept, or None for a new one."""
        if not self._kept or np.random.uniform() >= self._p:  # noqa: NPY002  # the state that nnU-Net's transforms draw from too
            return None
        return self._kept.pop(int(np.random.randint(len(self._kept))))  # noqa: NPY002

    def note(
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
            targets: Labels at each resolution of the loss, the finest first, (sample, item, z, y, x).
            cases: Whose windows they are.
            logits: What the network said at the finest resolution, (sample, class, z, y, x).
            possible: What the labels leave open, (sample, label, class); None where they leave nothing open.

        Returns:
            Voxels of invented lesion.
        """
        false = self.invented(logits, targets[0][:, 0].long(), possible)
        if false < self._least:
            return false
        self._kept.append(Hard(image, list(targets), list(cases), false))
        self._kept.sort(key=lambda one: -one.false)
        del self._kept[_KEPT:]
        return false

    def invented(self, logits: Tensor, labels: Tensor, possible: Tensor | None) -> int:
        """Voxels in which the most probable class is a lesion that cannot be there."""
        found = torch.isin(logits.argmax(1), torch.tensor(self._lesions, device=logits.device))
        known = labels < logits.shape[1]  # else it is the ignore label
        wrong = (
            found & known & ~torch.isin(labels, torch.tensor(self._lesions, device=labels.device))
        )
        if possible is not None:
            sample = torch.arange(len(labels), device=labels.device)[:, None, None, None]
            open_here = possible[:, :, self._lesions].any(2)[sample, labels.where(known, 0)]
            wrong &= ~open_here
        return int(wrong.sum())
