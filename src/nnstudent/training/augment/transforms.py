"""A recipe's augmentations: nnU-Net's own transforms, and one for contrast phases."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform, ImageOnlyTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import (
    DownsampleSegForDSTransform,
)
from batchgeneratorsv2.transforms.utils.pseudo2d import (
    Convert2DTo3DTransform,
    Convert3DTo2DTransform,
)
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from torch import Tensor

from nnstudent.training.augment.organs import OrganIntensityTransform, RepaintTransform
from nnstudent.training.recipe import Augmentation, Recipe

# Width of an elastic deformation over the patch size; the 9 to 13 voxels on a patch of 128 of
# batchgenerators lie in the middle.
_ELASTIC_SCALE = (0.04, 0.2)
_GEOMETRY = ("rotation", "scaling", "elastic")


def training_transforms(
    recipe: Recipe,
    scales: Sequence[Sequence[float]] | None,
    *,
    ignore: int | None = None,
    lesions: Collection[int] = (),
    painter: BasicTransform | None = None,
    view: BasicTransform | None = None,
) -> ComposeTransforms:
    """The transforms of a training window, from the loader's crop to image and targets.

    Args:
        recipe: The recipe, with its augmentations and patch.
        scales: Resolutions of the loss, relative to the finest (z, y, x); None without deep
            supervision.
        ignore: The ignore label, if there is one.
        lesions: Channels of the lesion classes.
        painter: Paints lesions into the window, after its geometry is final.
        view: Turns the window into what the network sees, last of all.
    """
    chosen = {item.name: item for item in recipe.training.augment}
    planar = recipe.training.in_plane
    steps: list[BasicTransform] = [_spatial(recipe, chosen)]
    if planar:
        steps = [Convert3DTo2DTransform(), *steps, Convert2DTo3DTransform()]
    steps.append(OwnImageTransform())
    if painter is not None:
        steps.append(painter)
    for item in recipe.training.augment:
        if item.name not in _GEOMETRY:
            steps.append(
                RandomTransform(
                    _intensity(item, planar=planar, ignore=ignore, lesions=lesions),
                    apply_probability=item.p,
                )
            )
    if view is not None:
        steps.append(view)
    return ComposeTransforms([*steps, *_targets(scales)])


class OwnImageTransform(ImageOnlyTransform):
    """Copies the image: a crop that was not rotated is a view of the cached scan.

    The transforms that follow work in place.
    """

    def _apply_to_image(self, img: Tensor, **params: Any) -> Tensor:
        return img.clone()


def validation_transforms(
    scales: Sequence[Sequence[float]] | None, *, view: BasicTransform | None = None
) -> ComposeTransforms:
    """The transforms of a validation window: the view, if there is one, and the loss's targets."""
    return ComposeTransforms([*([] if view is None else [view]), *_targets(scales)])


def initial_patch(recipe: Recipe) -> list[int]:
    """Size of the crop (z, y, x) that a rotated and scaled window needs, by nnU-Net's rule."""
    from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size

    chosen = {item.name: item for item in recipe.training.augment}
    turn = chosen.get("rotation")
    angle = math.radians(max(abs(turn.low), abs(turn.high))) if turn else 0.0
    # nnU-Net's own range of scaling, whatever the recipe says; what lies outside is padding.
    size = [
        int(n) for n in get_patch_size(list(recipe.data.patch), angle, angle, angle, (0.85, 1.25))
    ]
    return [recipe.data.patch[0], *size[1:]] if recipe.training.in_plane else size


def _spatial(recipe: Recipe, chosen: dict[str, Augmentation]) -> BasicTransform:
    patch = recipe.data.patch[1:] if recipe.training.in_plane else recipe.data.patch
    settings: dict[str, Any] = {}
    if "rotation" in chosen:
        item = chosen["rotation"]
        settings |= {
            "p_rotation": item.p,
            "rotation": (math.radians(item.low), math.radians(item.high)),
        }
    if "scaling" in chosen:
        item = chosen["scaling"]
        settings |= {
            "p_scaling": item.p,
            "scaling": (item.low, item.high),
            "p_synchronize_scaling_across_axes": 1,
        }
    if "elastic" in chosen:
        item = chosen["elastic"]
        settings |= {
            "p_elastic_deform": item.p,
            "elastic_deform_magnitude": (item.low, item.high),
            "elastic_deform_scale": _ELASTIC_SCALE,
        }
    return SpatialTransform(
        patch,
        patch_center_dist_from_border=0,
        random_crop=False,
        mode_seg="bilinear" if recipe.training.label_interpolation == "linear" else "nearest",
        border_mode_seg="constant",
        padding_value_seg=-1,
        **settings,
    )


def _intensity(
    item: Augmentation, *, planar: bool, ignore: int | None, lesions: Collection[int]
) -> BasicTransform:
    both = (item.low, item.high)
    if item.name == "noise":
        return GaussianNoiseTransform(
            noise_variance=both, p_per_channel=1, synchronize_channels=True
        )
    if item.name == "blur":
        return GaussianBlurTransform(
            blur_sigma=both,
            synchronize_channels=False,
            synchronize_axes=False,
            p_per_channel=1,
            benchmark=False,
        )
    if item.name == "brightness":
        return MultiplicativeBrightnessTransform(
            multiplier_range=BGContrast(both), synchronize_channels=False, p_per_channel=1
        )
    if item.name == "contrast":
        return ContrastTransform(
            contrast_range=BGContrast(both),
            preserve_range=True,
            synchronize_channels=False,
            p_per_channel=1,
        )
    if item.name == "low_resolution":
        return SimulateLowResolutionTransform(
            scale=both,
            synchronize_channels=False,
            synchronize_axes=True,
            ignore_axes=(0,) if planar else None,
            p_per_channel=1,
        )
    if item.name == "organ_intensity":
        return OrganIntensityTransform(both, ignore=ignore, lesions=lesions)
    if item.name == "repaint":
        return RepaintTransform(both, ignore=ignore, lesions=lesions)
    inverted = float(item.name == "gamma_inverted")
    return GammaTransform(
        gamma=BGContrast(both),
        p_invert_image=inverted,
        synchronize_channels=False,
        p_per_channel=1,
        p_retain_stats=1,
    )


def _targets(scales: Sequence[Sequence[float]] | None) -> list[BasicTransform]:
    steps: list[BasicTransform] = [
        RemoveLabelTansform(-1, 0)
    ]  # -1 marks padding and what lies outside the body's box
    if scales is not None:
        steps.append(DownsampleSegForDSTransform(ds_scales=[list(scale) for scale in scales]))
    return steps
