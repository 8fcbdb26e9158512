from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper

from nnstudent.training.losses.dice_ce import MarginalLoss
from nnstudent.training.losses.distillation import DistillingLoss
from nnstudent.types import Float64Array
from tests.training.losses.by_hand import (
    ANNOTATED,
    CHANNELS,
    EVERYTHING,
    LESION,
    SHAPE,
    WEIGHTS,
    ClassSums,
    dice_loss,
    ordinary,
    tables,
)


def batch(seed: int, *, uncertain: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and label, runner-up and uncertainty of each voxel; a third of them are certain."""
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(SHAPE, generator=rng, dtype=torch.float64)
    size = (SHAPE[0], 1, *SHAPE[2:])
    first, second = (torch.randint(0, CHANNELS, size, generator=rng) for _ in range(2))
    often = torch.rand(size, generator=rng) < (0.67 if uncertain else 0)
    return logits, torch.cat(
        [first, second, torch.randint(0, 128, size, generator=rng) * often], 1
    ).to(torch.int16)


def by_hand(
    logits: Float64Array,
    target: npt.NDArray[np.int16],
    annotated: Sequence[frozenset[int]],
    *,
    batch_dice: bool,
    weights: Sequence[float],
) -> float:
    """The soft loss from its definition, voxel by voxel."""
    samples = range(len(logits))
    ce, weight = 0.0, 0.0
    both, mass, drawn, wrong, total, region = (np.zeros((len(logits), CHANNELS)) for _ in range(6))
    for b in samples:
        open_classes = EVERYTHING - annotated[b]
        for v in np.ndindex(*logits.shape[2:]):
            p = np.exp(logits[(b, slice(None), *v)])
            p /= p.sum()
            first, second, uncertainty = (int(target[(b, item, *v)]) for item in range(3))
            t = np.zeros(CHANNELS)
            for label, probability in ((first, 1 - uncertainty / 255), (second, uncertainty / 255)):
                t[label if label in annotated[b] else 0] += probability
            may = {
                y: [u for u in open_classes if y == 0 or (u == LESION and y != LESION)]
                for y in range(CHANNELS)
            }
            w = sum(t[y] * weights[y] for y in range(CHANNELS))
            weight += w
            for y in range(CHANNELS):
                if t[y]:
                    right = p[y] + sum(p[u] for u in may[y])
                    ce += (
                        w
                        * t[y]
                        * (
                            math.log(1 + sum(p[u] for u in open_classes if u not in may[y]))
                            - math.log(right)
                        )
                    )
            for k in annotated[b]:
                m = p[k] + t[k] * sum(p[u] for u in may[k])
                both[b, k] += m + t[k] - abs(m - t[k])
                mass[b, k] += m
                drawn[b, k] += t[k]
            for u in open_classes:
                out = sum(t[y] for y in range(CHANNELS) if u not in may[y])
                total[b, u] += p[u]
                wrong[b, u] += p[u] * out
                region[b, u] += out
    sums = ClassSums(both, mass, drawn, wrong, total, region)
    return ce / weight + dice_loss(sums, annotated, batch_dice=batch_dice)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    annotated=ANNOTATED,
    batch_dice=st.booleans(),
    weighted=st.booleans(),
)
def test_the_soft_loss_is_the_sum_by_hand(
    seed: int, annotated: list[frozenset[int]], batch_dice: bool, weighted: bool
) -> None:
    logits, target = batch(seed)
    loss = DistillingLoss(
        ordinary(batch_dice=batch_dice, weights=WEIGHTS if weighted else None), share=1.0
    )
    wanted = by_hand(
        logits.numpy(),
        target.numpy(),
        annotated,
        batch_dice=batch_dice,
        weights=WEIGHTS if weighted else (1.0,) * CHANNELS,
    )
    assert float(loss(logits, target, tables(annotated))) == pytest.approx(wanted, abs=1e-9)


def without_open_labels(target: torch.Tensor, possible: torch.Tensor) -> torch.Tensor:
    """The target with background where its label is of a class that nobody annotated."""
    plain = target.clone()
    for sample, table in zip(plain, possible, strict=True):
        for label in range(1, table.shape[1]):
            if table[0, label]:
                sample[:2][sample[:2] == label] = 0
    return plain


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    annotated=ANNOTATED,
    batch_dice=st.booleans(),
    share=st.floats(0, 1),
)
def test_where_every_voxel_is_certain_it_is_the_hard_loss(
    seed: int, annotated: list[frozenset[int]], batch_dice: bool, share: float
) -> None:
    logits, target = batch(seed, uncertain=False)
    base = ordinary(batch_dice=batch_dice, weights=WEIGHTS)
    loss, hard = DistillingLoss(base, share=share), MarginalLoss(base)
    for possible in (tables(annotated), None):
        if possible is not None:  # the soft part takes no voxel of an open class for certain
            target = without_open_labels(target, possible)
        wanted = hard(logits, target[:, :1], possible)
        # nnU-Net's own Dice is in single precision
        assert float(loss(logits, target, possible)) == pytest.approx(
            float(wanted), abs=1e-9 if possible is not None else 1e-6
        )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), step=st.floats(0.01, 3.0))
def test_it_is_least_where_the_network_says_what_the_ensemble_says(seed: int, step: float) -> None:
    other, target = batch(seed)
    loss = DistillingLoss(ordinary(weights=WEIGHTS), share=1.0)
    told = torch.zeros(SHAPE, dtype=torch.float64)
    uncertainty = target[:, 2:].double() / 255
    told.scatter_add_(1, target[:, :1].long(), 1 - uncertainty).scatter_add_(
        1, target[:, 1:2].long(), uncertainty
    )
    agrees = told.clamp_min(1e-12).log()
    best = loss(agrees, target)
    assert float(best) < float(loss(agrees + step * other, target))
    hard = DistillingLoss(ordinary(weights=WEIGHTS), share=0.0)
    surer = target.clone()
    surer[:, 2] = 0
    assert float(hard(agrees, target)) == float(
        hard(agrees, surer)
    )  # the labels alone know no uncertainty


def test_gradients_are_finite_where_nothing_is_left_and_where_single_precision_ends() -> None:
    _, target = batch(3)
    logits = torch.full(SHAPE, -200.0)
    logits[:, 1] = 200.0
    logits.requires_grad_()
    for possible in (None, tables([frozenset({1, 2, 3}), EVERYTHING, frozenset({4})])):
        loss = DistillingLoss(ordinary(), share=0.5)(logits, target, possible)
        loss.backward()
        assert torch.isfinite(loss)
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


def test_what_is_ignored_counts_in_nothing() -> None:
    logits, target = batch(5)
    base = ordinary(weights=WEIGHTS)
    loss = DistillingLoss(base, share=1.0)
    base.ignore_label = CHANNELS
    target[:, 0, :, 1] = CHANNELS
    other, uncertain = logits.clone(), target.clone()
    other[:, :, :, 1] = 9.0
    uncertain[:, 1:, :, 1] = 2
    for possible in (tables([frozenset({1, 2, 3}), EVERYTHING, frozenset({4})]), None):
        soft = [loss._soft(*inputs, possible) for inputs in ((logits, target), (other, uncertain))]
        assert float(soft[0]) == pytest.approx(float(soft[1]), abs=1e-12)


def test_it_works_at_each_resolution() -> None:
    logits, target = batch(7)
    base: DC_and_CE_loss = ordinary()
    loss = DistillingLoss(base, share=0.5)
    wrapped = DeepSupervisionWrapper(loss, [0.75, 0.25])
    possible = tables([frozenset({1, 2, 3}), EVERYTHING, frozenset({4})])
    coarse = logits[..., ::2, :], target[..., ::2, :]
    found = wrapped([logits, coarse[0]], [target, coarse[1]], [possible, possible])
    assert float(found) == pytest.approx(
        float(0.75 * loss(logits, target, possible) + 0.25 * loss(*coarse, possible))
    )
