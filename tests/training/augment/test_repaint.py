"""Windows that are repainted with random contrasts."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("batchgeneratorsv2")

from nnstudent.training.augment.repaint import RepaintTransform  # noqa: E402


def test_repaint_changes_organs_and_unlabeled_tissue_and_keeps_outlines_and_air() -> None:
    torch.manual_seed(1)
    texture = 0.1 * torch.randn(1, 12, 24, 48)
    image, labels = texture.clone(), torch.zeros(1, 12, 24, 48, dtype=torch.int16)
    labels[..., 2:10], labels[..., 12:20], labels[..., 44:] = 1, 2, -1
    image[..., 20:30] -= 5.0  # air
    image[..., 30:44] += 2.0  # an unlabeled tissue
    before = image.clone()
    change = RepaintTransform((-1.0, 1.0))(image=image, segmentation=labels)["image"] - before
    inner = {"first": slice(4, 8), "second": slice(14, 18), "other": slice(33, 41)}
    shifts = {name: float(change[..., part].mean()) for name, part in inner.items()}
    assert len({round(shift, 3) for shift in shifts.values()}) == 3
    assert max(map(abs, shifts.values())) <= 1
    for name in ("first", "second"):
        kept = (before + change)[..., inner[name]].std() / before[..., inner[name]].std()
        assert 0.2 - 1e-3 <= kept < 1
    assert float(change[..., 22:28].mean().abs()) < 0.5
    assert not change[..., 46:].any()


def test_repaint_takes_a_lesion_along_and_leaves_ignored_voxels() -> None:
    torch.manual_seed(0)
    labels = torch.ones(1, 12, 24, 24, dtype=torch.int16)
    labels[0, 4:8, 8:14, 5:9], labels[..., 16:] = 2, 3
    image = torch.zeros(1, 12, 24, 24)
    image[0, 4:8, 8:14, 5:9] = 1.0
    done = RepaintTransform((0.5, 0.6), ignore=3, lesions=(2,))(
        image=image.clone(), segmentation=labels
    )["image"]
    around, lesion = done[0, 1, 2, 2], done[0, 6, 11, 7]
    assert 0 < float(lesion - around) <= 1
    assert float(around) > 0.4
    assert not done[..., 18:].any()
    nothing = torch.full_like(labels, -1)
    padding = RepaintTransform((0.5, 0.6))(image=image.clone(), segmentation=nothing)["image"]
    assert torch.equal(padding, image)
