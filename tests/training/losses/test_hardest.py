"""Cross-entropy over the hardest voxels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from nnstudent.errors import InputError
from nnstudent.training.annotated import PartialLabels
from nnstudent.training.losses.dice_ce import MarginalLoss
from nnstudent.training.losses.hardest import HardestCrossEntropy, mean_with_hardest
from nnstudent.training.objective import Objective
from nnstudent.training.recipe import Training

SHAPE = (2, 3, 4, 5)


def batch(seed: int, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    logits = torch.randn((SHAPE[0], classes, *SHAPE[1:]), generator=chance)
    return logits, torch.randint(0, classes, SHAPE, generator=chance)


@settings(deadline=None)
@given(seed=st.integers(0, 99), share=st.floats(0.01, 1.0))
def test_the_voxels_with_the_largest_loss_count_as_much_as_all(seed: int, share: float) -> None:
    logits, labels = batch(seed)
    by_voxel = torch.nn.functional.cross_entropy(logits, labels, reduction="none").flatten()
    most = max(1, round(share * by_voxel.numel()))
    hardest = by_voxel.sort(descending=True).values[:most].mean()
    expected = by_voxel.mean() if share == 1 else (by_voxel.mean() + hardest) / 2
    found = HardestCrossEntropy(torch.nn.CrossEntropyLoss(), share=share)(logits, labels)
    torch.testing.assert_close(found, expected)


def test_over_all_voxels_it_is_the_ordinary_loss() -> None:
    logits, labels = batch(1)
    labels[0, 0] = 7
    ordinary = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 4.0, 0.5]), ignore_index=7)
    found = HardestCrossEntropy(ordinary, share=1.0)(logits, labels)
    torch.testing.assert_close(found, ordinary(logits, labels))


def test_what_is_ignored_is_not_hard() -> None:
    logits, labels = batch(2)
    ordinary = torch.nn.CrossEntropyLoss(ignore_index=7)
    labels[0, 0] = 7
    worse = logits.clone()
    worse[0, :, 0] *= 50
    loss = HardestCrossEntropy(ordinary, share=0.1)
    torch.testing.assert_close(loss(worse, labels), loss(logits, labels))
    assert loss(logits, torch.full_like(labels, 7)) == 0


def test_a_small_lesion_and_a_look_alike_have_most_of_the_gradient() -> None:
    values = torch.full((10_000,), 0.01, requires_grad=True)
    with torch.no_grad():
        values[:30] = 4.0  # missed
        values[-30:] = 3.0  # false
    whole = torch.autograd.grad(mean_with_hardest(values, torch.ones(10_000), share=1.0), values)[0]
    hard = torch.autograd.grad(mean_with_hardest(values, torch.ones(10_000), share=0.01), values)[0]
    for part in (slice(30), slice(-30, None)):
        torch.testing.assert_close(hard[part], 50.5 * whole[part])
    torch.testing.assert_close(hard[100:-100], whole[100:-100] / 2)


def test_complete_and_partly_annotated_batches_count_the_same_voxels() -> None:
    loss: Any = DC_and_CE_loss(
        {"batch_dice": True, "do_bg": False, "smooth": 1e-5, "ddp": False},
        {},
        dice_class=MemoryEfficientSoftDiceLoss,
    )
    settings: dict[str, Any] = {"class_weights": (1.0, 2.0, 3.0), "device": torch.device("cpu")}
    objective = Objective(
        loss, Training(epochs=1, hardest=0.25), partial=PartialLabels({}, 3), **settings
    )
    objective.start_epoch(0)
    logits, labels = batch(3)
    targets = labels[:, None].float()
    found = objective(logits, [targets])
    weights = torch.tensor(settings["class_weights"])
    alone = HardestCrossEntropy(torch.nn.CrossEntropyLoss(weight=weights), share=0.25)
    torch.testing.assert_close(found, alone(logits, labels) + loss.dc(logits, targets))
    # A batch in which every class is annotated after all.
    possible = torch.eye(3, dtype=torch.bool).expand(SHAPE[0], 3, 3)
    torch.testing.assert_close(MarginalLoss(loss)(logits, targets, possible), found)


@pytest.mark.parametrize("wrong", [{"hardest": 0.0}, {"hardest": 1.5}])
def test_a_share_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="hardest"):
        Training(epochs=1, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="follows the teachers' probabilities"):
        Training(epochs=1, hardest=0.1, distill=0.5, label_interpolation="nearest")
