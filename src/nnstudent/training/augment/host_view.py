"""Windows as a lesion stage sees them: relative to the organs that bear lesions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from scipy import ndimage
from torch import Tensor

from nnstudent.errors import InputError
from nnstudent.inference.host_view import host_view
from nnstudent.inference.labels.hosted import as_hosts
from nnstudent.training.recipe import Recipe
from nnstudent.types import MaskArray
from nnstudent.volume import Spacing

# How often an organ's label lacks a lesion altogether, and a part of it, when it is segmented.
_WITHOUT, _CUT = 0.3, 0.3
_RESIZED = 0.25  # how often it is a voxel too large, and as often a voxel too small


class HostView(BasicTransform):
    """Shows a window relative to its hosts (:func:`nnstudent.inference.host_view.host_view`).

    The hosts' outlines are those of the labels, made as imperfect as a network's are.

    Args:
        hosts: Channels of the organs that can bear a lesion.
        lesions: Channels of the lesion classes.
        spacing_mm: Spacing of the windows, (z, y, x).
        mean: Mean HU of the normalization.
        std: Its standard deviation in HU.
        perfect: Take the outlines as they are, to validate.
    """

    def __init__(
        self,
        hosts: Collection[int],
        *,
        lesions: Collection[int],
        spacing_mm: Spacing,
        mean: float,
        std: float,
        perfect: bool = False,
    ) -> None:
        super().__init__()
        self.hosts, self.lesions = sorted(hosts), sorted(lesions)
        self.spacing_mm, self.mean, self.std, self.perfect = spacing_mm, mean, std, perfect

    def apply(self, data_dict: dict[str, Any], **params: Any) -> dict[str, Any]:
        """Replace ``image`` of one window; lesions that it does not show become background."""
        image: Tensor = data_dict["image"]
        known: Tensor = data_dict["segmentation"]
        labels = known[0].numpy().astype(np.int16)
        lesion = np.isin(labels, self.lesions)
        organs = as_hosts(labels, self.lesions)
        if not self.perfect:
            # Seeded from the global random state, as nnU-Net's transforms draw from it.
            rng = np.random.default_rng(np.random.randint(2**31))  # noqa: NPY002
            organs = _imperfect(organs, lesion, self.hosts, rng)
        hu = image[0].numpy() * np.float32(self.std) + np.float32(self.mean)
        view, seen = host_view(hu, organs, self.hosts, spacing_mm=self.spacing_mm)
        data_dict["image"] = torch.from_numpy(view)[None]
        unseen = torch.from_numpy(lesion & ~seen)
        known[:, unseen] = 0
        return data_dict


def _imperfect(
    organs: npt.NDArray[np.int16],
    lesion: MaskArray,
    hosts: Collection[int],
    rng: np.random.Generator,
) -> npt.NDArray[np.int16]:
    """Organs without some lesions or parts of them, and some of them too large or too small."""
    changed = organs.copy()
    parts, _ = ndimage.label(lesion)
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        draw = rng.random()
        if draw >= _WITHOUT + _CUT:
            continue
        missing = parts[box] == number
        if draw >= _WITHOUT:
            missing &= _beyond_a_plane(missing.shape, rng)
        changed[box][missing] = 0
    for host in hosts:
        draw = rng.random()
        if draw >= 2 * _RESIZED:
            continue
        own = changed == host
        if draw < _RESIZED:
            changed[ndimage.binary_dilation(own) & (changed == 0)] = host
        else:
            changed[own & ~ndimage.binary_erosion(own, border_value=1)] = 0
    return changed


def _beyond_a_plane(shape: tuple[int, ...], rng: np.random.Generator) -> MaskArray:
    """Half of a box, on one side of a plane through its middle of random direction."""
    normal = rng.normal(size=3)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    side: MaskArray = sum(part * axis for part, axis in zip(normal, axes, strict=True)) > 0
    return side


def make_host_view(
    recipe: Recipe,
    *,
    channels: Mapping[str, int],
    lesions: Collection[int],
    intensity: Mapping[str, float],
    perfect: bool,
) -> HostView | None:
    """The view that a recipe asks for by its ``hosts``, if it names any.

    Args:
        recipe: The recipe.
        channels: Channel of each class, by name.
        lesions: Channels of the lesion classes.
        intensity: ``mean`` and ``std`` of the plans, by which images are normalized.
        perfect: See :class:`HostView`.

    Raises:
        InputError: A host is no class that is learned, or no lesion class is.
    """
    hosts = recipe.data.hosts
    if not hosts:
        return None
    missing = [name for name in hosts if name not in channels or channels[name] in lesions]
    if missing or not lesions:
        what = f"{', '.join(missing)}: no organ" if missing else "no lesion class"
        raise InputError(
            f"hosts = {list(hosts)}; {what} among the classes to learn, {', '.join(channels)}"
        )
    return HostView(
        [channels[name] for name in hosts],
        lesions=lesions,
        spacing_mm=recipe.data.spacing_mm,
        mean=intensity["mean"],
        std=intensity["std"],
        perfect=perfect,
    )
