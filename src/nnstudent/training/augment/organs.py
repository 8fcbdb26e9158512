"""Other contrasts for the organs of a labeled window.

Repainting follows the idea of SynthSeg (Billot et al., Medical Image Analysis 2023): images with
random contrasts, made from real label maps, teach a network shapes and places rather than
densities. On CT air and fat have the same density in every scan, so only what differs between scans
is drawn anew: each organ's mean and texture, and in what has no label the densities of several
kinds of tissue.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform
from torch import Tensor
from torch.nn.functional import avg_pool3d

from nnstudent.inference.labels.hosted import as_hosts

_KINDS = (2, 5)  # kinds of tissue, least and most, into which what has no label is parted
_LEAST_TEXTURE = 0.2  # share of an organ's own texture that stays, at least
_SHARE = 0.5  # the range of what has no label, over that of organs: fat stays darker than muscle


class _OrganTransform(ImageOnlyTransform):
    """Changes each labeled organ by its own amount; a lesion changes with its host.

    Args:
        offset: Least and largest change of an organ's mean, in standard deviations of the
            normalized foreground.
        ignore: The ignore label, whose voxels stay.
        lesions: Channels of the lesion classes.
    """

    def __init__(
        self,
        offset: tuple[float, float],
        *,
        ignore: int | None = None,
        lesions: Collection[int] = (),
    ) -> None:
        super().__init__()
        self.offset, self.ignore, self.lesions = offset, ignore, lesions

    def _organs(self, labels: Tensor) -> Tensor:
        """Labels (z, y, x) without lesions and padding, which is -1."""
        return torch.from_numpy(as_hosts(labels.clamp(min=0).numpy(), self.lesions))


class OrganIntensityTransform(_OrganTransform):
    """Makes each labeled organ brighter or darker, as another contrast phase would.

    What has no label stays, so that the network must know an organ by its place and shape as well
    as by its brightness. A lesion changes with its host: it is found by how it differs from that.
    """

    def get_parameters(self, **data_dict: Any) -> dict[str, Any]:
        """Draw an offset for every class in the window.

        Returns:
            ``field``: The offsets by voxel, (1, z, y, x), smoothed at the edges by a voxel.
        """
        labels = self._organs(data_dict["segmentation"][0].long())
        offsets = torch.empty(int(labels.max()) + 1).uniform_(*self.offset)
        offsets[0] = 0.0
        if self.ignore is not None:
            offsets[self.ignore :] = 0.0  # the highest label
        return {"field": _smooth(offsets[labels])}

    def _apply_to_image(self, img: Tensor, **params: Any) -> Tensor:
        return img.add_(params["field"])


class RepaintTransform(_OrganTransform):
    """Gives each organ another mean and less texture, and other tissue other densities."""

    def get_parameters(self, **data_dict: Any) -> dict[str, Any]:
        """Draw how each region of the window changes.

        Returns:
            ``gain`` and ``shift``, both (1, z, y, x): the image becomes gain · image + shift.
        """
        image = data_dict["image"][0]
        labels = data_dict["segmentation"][0].long()
        regions, first = _regions(image, self._organs(labels), unlabeled=labels == 0)
        flat = regions.flatten()
        count = int(regions.max()) + 1
        voxels = torch.bincount(flat, minlength=count).clamp(min=1)
        means = torch.bincount(flat, image.flatten().double(), count).float() / voxels
        gain = torch.empty(count).uniform_(_LEAST_TEXTURE, 1.0)
        offset = torch.empty(count).uniform_(*self.offset)
        gain[first:] = 1.0  # a kind of tissue has a narrow range already
        offset[first:] *= _SHARE
        gain[0], offset[0] = 1.0, 0.0
        if self.ignore is not None:
            gain[self.ignore : first], offset[self.ignore : first] = 1.0, 0.0
        shift = means * (1 - gain) + offset
        return {"gain": _smooth(gain[regions]), "shift": _smooth(shift[regions])}

    def _apply_to_image(self, img: Tensor, **params: Any) -> Tensor:
        return img.mul_(params["gain"]).add_(params["shift"])


def _regions(image: Tensor, organs: Tensor, *, unlabeled: Tensor) -> tuple[Tensor, int]:
    """Number the organs as labeled, and kinds of tissue without a label from ``first`` on.

    Region 0 is padding and the darkest tissue, which is air where there is any.

    Returns:
        The regions, (z, y, x), and ``first``.
    """
    first = int(organs.max()) + 1
    inside = unlabeled & (organs == 0)
    values = image[inside]
    if not values.numel():
        return organs, first
    # Between the intensities of voxels that are drawn, so that common tissues are parted too.
    number = int(torch.randint(_KINDS[0], _KINDS[1] + 1, ()))
    between = values[torch.randint(values.numel(), (number,))].unique()
    kind = torch.bucketize(image, between)
    regions = torch.where(inside & (kind > 0), first - 1 + kind, organs)
    return regions, first


def _smooth(field: Tensor) -> Tensor:
    """A field (z, y, x), smoothed at the edges by a voxel, (1, z, y, x)."""
    return avg_pool3d(field[None], 3, 1, 1, count_include_pad=False)
