from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper

from nnstudent.training.losses.dice_ce import MarginalLoss
from nnstudent.types import Float64Array
from tests.training.losses.by_hand import (
    ANNOTATED,
    CHANNELS,
    EVERYTHING,
    LESION,
    SHAPE,
    WEIGHTS,
    ClassSums,
    batch,
    dice_loss,
    ordinary,
    tables,
)


def by_hand(
    logits: Float64Array,
    target: npt.NDArray[np.int16],
    annotated: Sequence[frozenset[int]],
    *,
    batch_dice: bool,
    weights: Sequence[float],
) -> float:
    """The loss from its definition, voxel by voxel."""
    samples = range(len(logits))
    ce, weight = 0.0, 0.0
    # Probability where the class is drawn, probability elsewhere, and voxels; then the same of open
    # classes where they cannot be.
    of_label, mass, drawn, wrong, total, region = (
        np.zeros((len(logits), CHANNELS)) for _ in range(6)
    )
    for b in samples:
        for v in np.ndindex(*logits.shape[2:]):
            p = np.exp(logits[(b, slice(None), *v)])
            p /= p.sum()
            label = int(target[(b, 0, *v)])
            if label == CHANNELS:  # ignored
                continue
            # known to be there, though nobody annotated the class
            painted = label in EVERYTHING - annotated[b]
            open_here = [
                u
                for u in EVERYTHING - annotated[b]
                if label == 0 or (u == LESION and label != LESION)
            ]
            open_here = [label] if painted else open_here
            right = p[label] + sum(p[u] for u in open_here if u != label)
            forbidden = [u for u in EVERYTHING - annotated[b] if u not in open_here]
            ce += weights[label] * (math.log(1 + sum(p[u] for u in forbidden)) - math.log(right))
            weight += weights[label]
            for k in annotated[b]:
                of_label[b, k] += right if label == k else 0
                mass[b, k] += p[k] if label != k else 0
                drawn[b, k] += label == k
            for u in EVERYTHING - annotated[b]:
                total[b, u] += p[u]
                wrong[b, u] += p[u] if u in forbidden else 0
                region[b, u] += u in forbidden
    sums = ClassSums(2 * of_label, of_label + mass, drawn, wrong, total, region)
    return ce / weight + dice_loss(sums, annotated, batch_dice=batch_dice)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    annotated=ANNOTATED,
    batch_dice=st.booleans(),
    weighted=st.booleans(),
)
def test_it_is_the_sum_by_hand(
    seed: int, annotated: list[frozenset[int]], batch_dice: bool, weighted: bool
) -> None:
    logits, target = batch(seed)
    loss = MarginalLoss(ordinary(batch_dice=batch_dice, weights=WEIGHTS if weighted else None))
    value = loss(logits, target, tables(annotated))
    wanted = by_hand(
        logits.numpy(),
        target.numpy(),
        annotated,
        batch_dice=batch_dice,
        weights=WEIGHTS if weighted else (1.0,) * CHANNELS,
    )
    assert float(value) == pytest.approx(wanted, abs=1e-12)


def with_ignored(target: torch.Tensor, seed: int, share: float) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.where(torch.rand(target.shape, generator=rng) < share, CHANNELS, target)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    annotated=ANNOTATED,
    batch_dice=st.booleans(),
    weighted=st.booleans(),
    share=st.floats(0, 0.9),
)
def test_an_ignored_voxel_counts_in_no_sum(
    seed: int, annotated: list[frozenset[int]], batch_dice: bool, weighted: bool, share: float
) -> None:
    logits, target = batch(seed)
    target = with_ignored(target, seed, share)
    assume((target != CHANNELS).any())
    weights = WEIGHTS if weighted else (1.0,) * CHANNELS
    loss = MarginalLoss(
        ordinary(batch_dice=batch_dice, weights=WEIGHTS if weighted else None, ignore=True)
    )
    partly = by_hand(
        logits.numpy(), target.numpy(), annotated, batch_dice=batch_dice, weights=weights
    )
    assert float(loss(logits, target, tables(annotated))) == pytest.approx(partly, abs=1e-12)
    # A fully annotated batch is computed by nnU-Net, whose Dice is in single precision.
    whole = by_hand(
        logits.numpy(), target.numpy(), [EVERYTHING] * 3, batch_dice=batch_dice, weights=weights
    )
    assert float(loss(logits, target)) == pytest.approx(whole, abs=2e-6)


@pytest.mark.parametrize("partly", [False, True])
@pytest.mark.parametrize("share", [0.4, 1.0])
def test_nothing_is_learned_at_an_ignored_voxel(partly: bool, share: float) -> None:
    logits, target = batch(6)
    target = with_ignored(target, 6, share)
    logits.requires_grad_()
    possible = tables([frozenset({1, 2}), EVERYTHING, frozenset({3})]) if partly else None
    MarginalLoss(ordinary(weights=WEIGHTS, ignore=True))(logits, target, possible).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    ignored = (target == CHANNELS).expand_as(logits)
    assert (logits.grad[ignored] == 0).all()
    assert (logits.grad[~ignored] != 0).all()


@pytest.mark.parametrize("batch_dice", [False, True])
def test_its_gradient_is_that_of_the_sum_by_hand(batch_dice: bool) -> None:
    annotated = [EVERYTHING, frozenset({1, 2}), frozenset({3, LESION})]
    logits, target = batch(5)
    logits.requires_grad_()
    MarginalLoss(ordinary(batch_dice=batch_dice, weights=WEIGHTS))(
        logits, target, tables(annotated)
    ).backward()
    assert logits.grad is not None
    values, step = logits.detach().numpy(), 1e-5
    for at in list(np.ndindex(*SHAPE))[::3]:
        sides = []
        for sign in (1, -1):
            moved = values.copy()
            moved[at] += sign * step
            sides.append(
                by_hand(moved, target.numpy(), annotated, batch_dice=batch_dice, weights=WEIGHTS)
            )
        assert float(logits.grad[at]) == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), batch_dice=st.booleans(), weighted=st.booleans())
def test_annotated_throughout_it_is_nnunets_own_loss(
    seed: int, batch_dice: bool, weighted: bool
) -> None:
    base = ordinary(batch_dice=batch_dice, weights=WEIGHTS if weighted else None)
    logits, target = batch(seed)
    wanted = base(logits, target)
    assert torch.equal(MarginalLoss(base)(logits, target), wanted)
    # and so is its general form, up to nnU-Net's own sums in single precision
    assert float(MarginalLoss(base)(logits, target, tables([EVERYTHING] * 3))) == pytest.approx(
        float(wanted), abs=2e-6
    )


def test_deep_supervision_sums_it_over_resolutions() -> None:
    annotated = [EVERYTHING, frozenset({1}), frozenset({2, LESION})]
    fine, coarse = batch(1), batch(2, (3, CHANNELS, 1, 2, 1))
    loss = MarginalLoss(ordinary())
    possible = tables(annotated)
    value = DeepSupervisionWrapper(loss, (2 / 3, 1 / 3))(
        [fine[0], coarse[0]], [fine[1], coarse[1]], [possible] * 2
    )
    assert float(value) == pytest.approx(
        float(2 / 3 * loss(*fine, possible) + 1 / 3 * loss(*coarse, possible)), abs=1e-12
    )


def certain_logits(*classes: int) -> torch.Tensor:
    """Logits of one sample that is certain of the class of each voxel, (1, class, voxel, 1, 1)."""
    return 30.0 * torch.eye(CHANNELS, dtype=torch.float64)[list(classes)].T[None, :, :, None, None]


def _labels(*classes: int) -> torch.Tensor:
    return torch.tensor(classes)[None, None, :, None, None]


def test_what_is_open_costs_nothing_and_what_is_excluded_does() -> None:
    loss = MarginalLoss(ordinary())
    possible = tables([frozenset({1, 2})])  # organ 3 and the lesion are open
    best = float(loss(certain_logits(0, 0, 1, 2), _labels(0, 0, 1, 2), possible))
    assert best == pytest.approx(-1, abs=1e-6)
    for same in (
        (0, 3, 1, 2),
        (LESION, 3, 1, 2),
        (0, 0, LESION, 2),
    ):  # in the background; a lesion also inside an organ
        assert float(loss(certain_logits(*same), _labels(0, 0, 1, 2), possible)) == pytest.approx(
            best, abs=1e-4
        )
    for worse in ((0, 1, 1, 2), (0, 0, 3, 2), (0, 0, 2, 2), (0, 0, 0, 2)):
        assert float(loss(certain_logits(*worse), _labels(0, 0, 1, 2), possible)) > best + 1


def test_an_open_class_drawn_anyway_is_certain_there_and_open_elsewhere() -> None:
    loss, possible = MarginalLoss(ordinary()), tables([frozenset({1})])
    best = float(loss(certain_logits(0, 1, 3, LESION), _labels(0, 1, 3, LESION), possible))
    assert float(
        loss(certain_logits(LESION, 1, 3, LESION), _labels(0, 1, 3, LESION), possible)
    ) == pytest.approx(best, abs=1e-4)
    for worse in ((0, 1, 3, 0), (0, 1, 0, LESION), (0, 1, 3, 2)):
        assert float(loss(certain_logits(*worse), _labels(0, 1, 3, LESION), possible)) > best + 1


def test_a_batch_without_an_annotated_class_is_finite() -> None:
    logits, target = batch(4)
    logits.requires_grad_()
    loss = MarginalLoss(ordinary())(logits, torch.zeros_like(target), tables([frozenset()] * 3))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_that_is_surely_wrong_still_learns(dtype: torch.dtype) -> None:
    """Where every class that may be there has a probability of 0 in this precision."""
    logits = torch.zeros(1, CHANNELS, 1, 1, 2, dtype=dtype)
    logits[:, 1] = 2000.0
    logits.requires_grad_()
    loss = MarginalLoss(ordinary())(logits, torch.zeros(1, 1, 1, 1, 2), tables([frozenset({1, 2})]))
    loss.backward()
    assert 1990 < float(loss.detach()) < 2010
    assert (logits.grad[:, 1] > 0.1).all()
