"""Other contrasts for the organs of a window."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("batchgeneratorsv2")

from nnstudent.training.augment.organs import (  # noqa: E402
    OrganIntensityTransform,
    RepaintTransform,
)


def test_organ_intensity_changes_each_organ_by_its_own_amount_and_the_rest_not_at_all() -> None:
    torch.manual_seed(0)
    image, labels = torch.zeros(1, 12, 24, 24), torch.zeros(1, 12, 24, 24, dtype=torch.int16)
    labels[0, :, :, 2:8], labels[0, :, :, 12:18], labels[0, :, :, 22:] = 1, 3, -1
    change = OrganIntensityTransform((-1.0, 1.0))(image=image, segmentation=labels)["image"]
    first, second = change[0, :, :, 3:7], change[0, :, :, 13:17]
    assert first.std() < 1e-5
    assert second.std() < 1e-5
    assert 0 < abs(first.mean() - second.mean()) < 2
    assert max(abs(first.mean()), abs(second.mean())) <= 1
    assert not change[0, :, :, 9:11].any()
    assert not change[0, :, :, 19:].any()
    ignored = OrganIntensityTransform((-1.0, 1.0), ignore=3)(
        image=torch.zeros_like(image), segmentation=labels
    )["image"]
    assert ignored[0, :, :, 3:7].any()
    assert not ignored[0, :, :, 12:].any()


def test_organ_intensity_takes_a_lesion_along_with_what_it_lies_in() -> None:
    torch.manual_seed(0)
    image, labels = torch.zeros(1, 12, 24, 36), torch.zeros(1, 12, 24, 36, dtype=torch.int16)
    labels[0, :, :, 2:12], labels[0, :, :, 14:24] = 1, 2
    labels[0, 4:8, 8:14, 5:9], labels[0, 4:8, 8:14, 16:20], labels[0, 4:8, 8:14, 29:33] = (
        3,
        3,
        3,
    )  # in 1, in 2, in no organ
    change = OrganIntensityTransform((-1.0, 1.0), lesions=(3,))(image=image, segmentation=labels)[
        "image"
    ][0]
    for whole in (change[:, :, 3:11], change[:, :, 15:23]):
        assert whole.std() < 1e-5
        assert whole.any()
    assert not change[:, :, 26:].any()
    everywhere = torch.full_like(labels, 3)
    assert not OrganIntensityTransform((-1.0, 1.0), lesions=(3,))(
        image=torch.zeros_like(image), segmentation=everywhere
    )["image"].any()


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
