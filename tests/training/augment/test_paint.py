"""The painter as a step of the augmentation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

torch = pytest.importorskip("torch", reason="training needs the extra [train]")

from nnstudent.training.augment.paint import PaintLesions  # noqa: E402
from tests.training.augment.test_lesions import LIVER, ORGANS, SPACING, patient  # noqa: E402

TUMOR = 14
MEAN, STD = 60.0, 50.0


def painted(p: float, seed: int, *, most: int = 4, uncertain: bool = False) -> tuple[dict, dict]:
    """A window before and after."""
    hu, labels = patient(seed)
    segmentation = torch.from_numpy(labels.astype(np.float32))[None]
    if uncertain:
        segmentation = torch.cat([segmentation, torch.full_like(segmentation, 0.3)])
    window = {"image": torch.from_numpy((hu - MEAN) / STD)[None], "segmentation": segmentation}
    before = {key: value.clone() for key, value in window.items()}
    np.random.seed(seed)  # noqa: NPY002
    step = PaintLesions(
        p, most=most, organs=ORGANS, tumor=TUMOR, spacing_mm=SPACING, mean=MEAN, std=STD
    )
    return before, step(**window)


def test_painted_tumors_are_labeled_and_all_else_keeps_its_label() -> None:
    labeled = 0
    for seed in range(20):
        before, after = painted(1.0, seed)
        tumor = after["segmentation"] == TUMOR
        assert torch.equal(after["segmentation"][~tumor], before["segmentation"][~tumor])
        assert ((after["image"] != before["image"]) | ~tumor).float().mean() > 0.999
        labeled += int(tumor.any())
    assert labeled >= 15


def test_a_window_can_receive_many_lesions() -> None:
    def count(most: int) -> float:
        masks = [painted(1.0, seed, most=most)[1]["segmentation"][0] == TUMOR for seed in range(12)]
        return float(np.mean([ndimage.label(mask)[1] for mask in masks]))

    assert count(1) <= 1.5
    assert count(12) > 1.5 * count(4) > 1.5 * count(1)


def test_intensities_are_painted_in_hu() -> None:
    for seed in range(10):
        _, after = painted(1.0, seed)
        hu = after["image"] * STD + MEAN
        inside = hu[(after["segmentation"] == TUMOR) | (after["segmentation"] == LIVER)]
        assert -130 < float(inside.quantile(0.01)) < float(inside.quantile(0.99)) < 400


def test_what_is_painted_is_certain() -> None:
    changed = 0
    for seed in range(10):
        _, after = painted(1.0, seed, uncertain=True)
        tumor = after["segmentation"][0] == TUMOR
        assert (after["segmentation"][1, tumor] == 0).all()
        assert (after["segmentation"][1, ~tumor] > 0).all()
        changed += int(tumor.any())
    assert changed


def test_without_chance_nothing_changes() -> None:
    before, after = painted(0.0, 1)
    assert torch.equal(before["image"], after["image"])
    assert torch.equal(before["segmentation"], after["segmentation"])
