"""Lesions of a pseudo-label, each with the agreement of the folds that drew it.

A class has one agreement for the whole scan. It does not tell a lesion that one fold invents from
one that all folds find, so each lesion has its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from nnstudent.inference.grid.preprocess import Frame
from nnstudent.inference.lesion_stage import labels_on_network_grid
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray, MaskArray
from nnstudent.volume import Volume

_NEIGHBORS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True, slots=True)
class Lesion:
    """A lesion of a pseudo-label.

    Attributes:
        name: Its class.
        at: One of its voxels, (z, y, x).
        ml: Its volume, rounded to 0.001.
        agreement: Mean over its voxels of the share of the folds that see a lesion there, 0 to 1.
    """

    name: str
    at: tuple[int, int, int]
    ml: float
    agreement: float


def lesions_of(
    labels: Volume,
    share: npt.NDArray[np.floating],
    *,
    frame: Frame,
    ids: Collection[int],
    taxonomy: Taxonomy,
) -> tuple[Lesion, ...]:
    """The lesions of a label map, with the agreement of the folds.

    Args:
        labels: Label map on the image's grid, with ids of the table.
        share: Share of the folds that see a lesion in each voxel of the network's grid, 0 to 1.
        frame: How that grid lies in the image.
        ids: Ids of the lesion classes.
        taxonomy: The label table.

    Returns:
        One for each connected piece, in the order of their first voxels. A piece that is smaller
        than the network's voxels, and has none of them, is left out.
    """
    found = []
    for id in ids:
        parts, count = scipy.ndimage.label(labels.array == id, structure=_NEIGHBORS)
        if not count:
            continue
        seen = labels_on_network_grid(parts, frame)
        voxels = np.bincount(seen.ravel(), minlength=count + 1)
        votes = np.bincount(seen.ravel(), weights=share.ravel(), minlength=count + 1)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        first = np.unique(parts, return_index=True)[1][-count:]
        for part, place in enumerate(first, start=1):
            z, y, x = (int(n) for n in np.unravel_index(place, parts.shape))
            if voxels[part]:
                ml = round(float(sizes[part] * labels.grid.voxel_ml), 3)
                agreement = round(float(votes[part] / voxels[part]), 4)
                found.append(Lesion(taxonomy.by_id(id).name, (z, y, x), ml, agreement))
    return tuple(found)


def unsure_lesions(
    labels: LabelArray, lesions: Sequence[Lesion], *, least: float, taxonomy: Taxonomy
) -> MaskArray:
    """Where the folds agree too little on a lesion to learn from it.

    Args:
        labels: The pseudo-label, (z, y, x).
        lesions: Its lesions.
        least: Least agreement of a lesion that is learned from, 0 to 1.
        taxonomy: The label table.

    Returns:
        The voxels of those with less, (z, y, x); a piece without an agreement is none of them.
    """
    unsure = np.zeros(labels.shape, np.bool_)
    for name in {lesion.name for lesion in lesions}:
        parts, _ = scipy.ndimage.label(labels == taxonomy[name].id, structure=_NEIGHBORS)
        doubtful = {
            int(parts[lesion.at])
            for lesion in lesions
            if lesion.name == name and lesion.agreement < least
        } - {0}
        unsure |= np.isin(parts, list(doubtful))
    return unsure
