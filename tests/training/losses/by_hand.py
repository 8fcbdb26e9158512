"""The losses computed from their definitions, for the tests of the fast ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from nnstudent.training.annotated import possible_classes
from nnstudent.types import Float64Array

EPS = 1e-5  # nnU-Net's smoothing
CHANNELS, LESION = 5, 4  # background, three organs, a lesion
SHAPE = (3, CHANNELS, 2, 3, 2)
WEIGHTS = (1.0, 2.0, 0.5, 3.0, 7.0)
EVERYTHING = frozenset(range(1, CHANNELS))
ANNOTATED = st.lists(
    st.frozensets(st.sampled_from(sorted(EVERYTHING)), min_size=1),
    min_size=SHAPE[0],
    max_size=SHAPE[0],
)


def ordinary(
    *, batch_dice: bool = False, weights: Sequence[float] | None = None, ignore: bool = False
) -> DC_and_CE_loss:
    """nnU-Net's loss as its trainer builds it."""
    loss = DC_and_CE_loss(
        {"batch_dice": batch_dice, "smooth": EPS, "do_bg": False, "ddp": False},
        {},
        ignore_label=CHANNELS if ignore else None,
        dice_class=MemoryEfficientSoftDiceLoss,
    )
    loss.ce.weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    return loss


def batch(seed: int, shape: tuple[int, ...] = SHAPE) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape, generator=rng, dtype=torch.float64)
    return logits, torch.randint(
        0, shape[1], (shape[0], 1, *shape[2:]), generator=rng, dtype=torch.int16
    )


def tables(annotated: Sequence[frozenset[int]]) -> torch.Tensor:
    return torch.from_numpy(
        np.stack(
            [possible_classes(known, channels=CHANNELS, lesions={LESION}) for known in annotated]
        )
    )


@dataclass(frozen=True)
class ClassSums:
    """What Dice and the exclusion term are made of, each (sample, class).

    Attributes:
        twice_hit: Twice the overlap of prediction and label, of annotated classes.
        predicted: Probability mass.
        drawn: Voxels of the label.
        wrong: Probability mass of open classes where they are ruled out.
        total: All their probability mass.
        region: Voxels where they are ruled out.
    """

    twice_hit: Float64Array
    predicted: Float64Array
    drawn: Float64Array
    wrong: Float64Array
    total: Float64Array
    region: Float64Array


def dice_loss(sums: ClassSums, annotated: Sequence[frozenset[int]], *, batch_dice: bool) -> float:
    """The exclusion term less the mean Dice, from their definition."""
    samples = range(len(annotated))
    groups = [list(samples)] if batch_dice else [[b] for b in samples]
    dice, exclusion = [], 0.0
    for group in groups:
        for k in EVERYTHING:
            known = [b for b in group if k in annotated[b]]
            left = [b for b in group if k not in annotated[b]]
            if known:
                both = sums.predicted[known, k].sum() + sums.drawn[known, k].sum()
                dice.append((sums.twice_hit[known, k].sum() + EPS) / (both + EPS))
            if left:
                both = sums.total[left, k].sum() + sums.region[left, k].sum()
                exclusion += 2 * sums.wrong[left, k].sum() / (both + EPS)
    return exclusion / (len(groups) * len(EVERYTHING)) - sum(dice) / len(dice)
