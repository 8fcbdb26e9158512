"""Tumor copy-paste: a lesion of one training window is pasted into another where it could be."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

from nnstudent.volume import Box

_KEPT = 8  # lesions to choose from, each of some dozens of kilobytes
_RIM = 2  # voxels around a lesion that count as its surroundings
_TRIES = 8
_INSIDE = 0.8  # least share of a lesion's voxels that lie where it belongs; the rest is cut off
# Largest difference from the surroundings outside of organs, in standard deviations of the
# normalized image (some 40 HU).
_ALIKE = 0.5


@dataclass(frozen=True)
class Lesion:
    """A lesion cut out of a window, with a rim around it.

    Attributes:
        channel: Its class.
        mask: Its voxels, (z, y, x), bool.
        contrast: Intensity less the mean of the surroundings, (channel, z, y, x).
        around: That mean, (channel).
        host: The class of most of the surroundings, 0 outside of organs.
    """

    channel: int
    mask: Tensor
    contrast: Tensor
    around: Tensor
    host: int


def cut_lesion(
    image: Tensor, labels: Tensor, classes: Collection[int], *, ignore: int | None = None
) -> Lesion | None:
    """Cut a lesion out of a window, at random if it has several.

    Args:
        image: (channel, z, y, x).
        labels: (z, y, x).
        classes: The lesion classes.
        ignore: The ignore label, if there is one.

    Returns:
        None if there is no lesion, if the one drawn is cut by the window's border, or if all that
        surrounds it is ignored.
    """
    flat = labels.cpu().numpy()
    lesions = np.isin(flat, list(classes))
    parts, count = ndimage.label(lesions)
    if not count:
        return None
    number = int(np.random.randint(count)) + 1  # noqa: NPY002  # as nnU-Net's transforms do
    found = ndimage.find_objects(parts, number)[number - 1]
    if any(
        part.start < _RIM or part.stop + _RIM > size
        for part, size in zip(found, flat.shape, strict=True)
    ):
        return None
    z, y, x = (slice(part.start - _RIM, part.stop + _RIM) for part in found)
    mask = parts[z, y, x] == number
    rim = (
        ndimage.binary_dilation(mask, iterations=_RIM)
        & ~lesions[z, y, x]
        & (flat[z, y, x] != ignore)
    )
    if not rim.any():
        return None
    own = image[:, z, y, x]
    around = own[:, torch.from_numpy(rim).to(own.device)].mean(1)
    host = int(np.bincount(flat[z, y, x][rim]).argmax())
    inside = torch.from_numpy(mask).to(own.device)
    return Lesion(
        int(np.bincount(flat[z, y, x][mask]).argmax()),
        inside,
        own - around[:, None, None, None],
        around,
        host,
    )


def find_place(lesion: Lesion, image: Tensor, labels: Tensor) -> Box | None:
    """Find a place for a lesion: in its organ, or outside of organs in tissue of the same density.

    Args:
        lesion: The lesion.
        image: (channel, z, y, x).
        labels: (z, y, x).

    Returns:
        A box of the lesion's size within the window; None if none of a few tries fits.
    """
    fits = labels == lesion.host
    if not lesion.host:
        fits = fits & ((image[0] - lesion.around[0]).abs() < _ALIKE)
    centres = fits.nonzero()
    for _ in range(_TRIES if len(centres) else 0):
        centre = centres[np.random.randint(len(centres))].tolist()  # noqa: NPY002
        starts = [at - size // 2 for at, size in zip(centre, lesion.mask.shape, strict=True)]
        ends = [start + size for start, size in zip(starts, lesion.mask.shape, strict=True)]
        if min(starts) < 0 or any(end > size for end, size in zip(ends, labels.shape, strict=True)):
            continue
        z, y, x = (slice(start, end) for start, end in zip(starts, ends, strict=True))
        if fits[z, y, x][lesion.mask].float().mean() >= _INSIDE:
            return z, y, x
    return None


def paste(lesion: Lesion, image: Tensor, labels: Tensor, box: Box) -> None:
    """Paste a lesion into a window in place.

    Its contrast to the surroundings stays, and no other class is overwritten.

    Args:
        lesion: The lesion.
        image: (channel, z, y, x).
        labels: (item, z, y, x): first the class, then items that are 0 where it is certain.
        box: The place, of the lesion's size.
    """
    z, y, x = box
    here = lesion.mask & (labels[0, z, y, x] == lesion.host)
    if not here.any():
        return
    under = image[:, z, y, x]
    lesioned = lesion.contrast + under[:, here].mean(1)[:, None, None, None]
    share = (
        avg_pool3d(here[None].to(image), 3, stride=1, padding=1) * here
    )  # softer at the border, as tissue is in a scan
    image[:, z, y, x] = torch.lerp(under, lesioned, share)
    known = labels[:, z, y, x]
    known[:, here] = 0
    known[0, here] = lesion.channel


class CopyPaste:
    """Pastes lesions of the last windows into others.

    The idea comes from Ghiasi et al., "Simple copy-paste is a strong data augmentation method for
    instance segmentation", CVPR 2021. Lesions are taken only from cases in which a person looked
    for them, and pasted only into cases that do not leave them open: the loss for partial labels
    knows by sample, not by voxel, what is annotated.
    """

    def __init__(self, p: float, *, ignore: int | None = None) -> None:
        """Start with no lesion.

        Args:
            p: Share of windows that receive one, if there is one and a place for it.
            ignore: The ignore label, if there is one.
        """
        self._p, self._ignore = p, ignore
        self._kept: deque[Lesion] = deque(maxlen=_KEPT)

    def __call__(
        self,
        image: Tensor,
        targets: Sequence[Tensor],
        *,
        true: Sequence[Collection[int]],
        closed: Sequence[Collection[int]],
    ) -> None:
        """Paste into a batch in place.

        Args:
            image: (sample, channel, z, y, x).
            targets: Labels at each resolution of the loss, finest first, (sample, item, z, y, x);
                see :func:`paste`.
            true: By sample, the lesion classes that a person looked for in its case.
            closed: By sample, the lesion classes that its labels do not leave open.
        """
        for number in range(len(image)):
            labels = targets[0][number]
            own = (
                cut_lesion(image[number], labels[0], true[number], ignore=self._ignore)
                if true[number]
                else None
            )
            if self._kept and np.random.uniform() < self._p:  # noqa: NPY002
                lesion = self._kept[np.random.randint(len(self._kept))]  # noqa: NPY002
                box = (
                    find_place(lesion, image[number], labels[0])
                    if lesion.channel in closed[number]
                    else None
                )
                if box is not None:
                    paste(lesion, image[number], labels, box)
                    for target in targets[1:]:  # as nnU-Net makes them
                        coarse = interpolate(
                            labels[None].float(), target.shape[2:], mode="nearest-exact"
                        )
                        target[number] = coarse[0].to(target.dtype)
            if own is not None:
                self._kept.append(own)
