"""Painted lesions as a step of a recipe's augmentation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from torch import Tensor

from nnstudent.errors import InputError
from nnstudent.training.augment.lesions import paint
from nnstudent.training.augment.physiology import LESIONS
from nnstudent.training.recipe import Recipe
from nnstudent.volume import Spacing


class PaintLesions(BasicTransform):
    """Paints lesions into a share of the windows, and look-alikes into as many.

    Args:
        p: Share of windows with lesions; look-alikes are drawn separately, as often.
        most: Largest number of lesions, and of look-alikes, in a window.
        organs: Channel of each organ.
        tumor: Channel of the lesion class.
        spacing_mm: Spacing of the windows, (z, y, x).
        mean: Mean HU of the normalization.
        std: Its standard deviation in HU.
    """

    def __init__(
        self,
        p: float,
        *,
        most: int,
        organs: Mapping[str, int],
        tumor: int,
        spacing_mm: Spacing,
        mean: float,
        std: float,
    ) -> None:
        super().__init__()
        self.p, self.most, self.organs, self.tumor = p, most, dict(organs), tumor
        self.spacing_mm, self.mean, self.std = spacing_mm, mean, std

    def apply(self, data_dict: dict[str, Any], **params: Any) -> dict[str, Any]:
        """Paint into ``image`` and ``segmentation`` of one window, both (channel, z, y, x)."""
        # Seeded from the global random state, as nnU-Net's transforms draw from it.
        rng = np.random.default_rng(np.random.randint(2**31))  # noqa: NPY002
        lesions = int(rng.integers(1, self.most + 1)) if rng.random() < self.p else 0
        look_alikes = int(rng.integers(1, self.most + 1)) if rng.random() < self.p else 0
        if not lesions and not look_alikes:
            return data_dict
        image: Tensor = data_dict["image"]
        known: Tensor = data_dict["segmentation"]
        hu = image[0].numpy() * self.std + self.mean
        labels = known[0].numpy().astype(np.int16)
        for one in paint(
            hu,
            labels,
            self.organs,
            rng,
            spacing_mm=self.spacing_mm,
            lesions=lesions,
            look_alikes=look_alikes,
        ):
            if one.kind.tumor:
                inside = torch.from_numpy(one.mask)
                known[:, inside] = 0  # items after the class are 0 where the class is certain
                known[0, inside] = self.tumor
        image[0] = torch.from_numpy((hu - self.mean) / self.std)
        return data_dict


def make_painter(
    recipe: Recipe,
    *,
    channels: Mapping[str, int],
    lesions: Collection[int],
    intensity: Mapping[str, float],
) -> PaintLesions | None:
    """The painter that a recipe asks for, if it asks for one.

    Args:
        recipe: The recipe.
        channels: Channel of each class, by name.
        lesions: Channels of the lesion classes.
        intensity: ``mean`` and ``std`` of the plans, by which images are normalized.

    Raises:
        InputError: There is not exactly one lesion class, or no class can bear a lesion.
    """
    share = recipe.training.paint_lesions
    if not share:
        return None
    if len(lesions) != 1:
        raise InputError(
            f"paint_lesions = {share}; needs one lesion class to learn, "
            f"but there are {len(lesions)}"
        )
    if not any(name in kind.hosts for kind in LESIONS for name in channels):
        known = sorted({name for kind in LESIONS for name in kind.hosts})
        raise InputError(
            f"paint_lesions = {share}; none of the classes can bear a lesion, "
            f"only {', '.join(known)}"
        )
    (tumor,) = lesions
    return PaintLesions(
        share,
        most=recipe.training.paint_most,
        organs={name: channel for name, channel in channels.items() if channel != tumor},
        tumor=tumor,
        spacing_mm=recipe.data.spacing_mm,
        mean=intensity["mean"],
        std=intensity["std"],
    )
