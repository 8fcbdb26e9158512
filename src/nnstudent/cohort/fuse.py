"""Truth over pseudo-labels, voxel by voxel."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from nnstudent.errors import GeometryError, InputError
from nnstudent.taxonomy import Taxonomy

Labels = npt.NDArray[np.uint8]


def fuse(
    truth: Labels | None, pseudo: Labels | None, *, annotated: Collection[int], taxonomy: Taxonomy
) -> Labels:
    """Complete a partly annotated label map with pseudo-labels of what nobody looked for.

    The truth decides for every class that is annotated, the pseudo-label for every other:

    1. An annotated class lies exactly where the truth has it. Pseudo voxels of an annotated class become background:
       somebody looked there and did not find it.
    2. A class that is not annotated comes from the pseudo-label, and only where the truth is background. Truth voxels of such a
       class count as background, for nobody vouches that they are complete.
    3. One exception to both: a lesion that is *not* annotated is laid over annotated organs. In FLARE's labels tumors lie over
       organs, so who draws a liver without looking for tumors draws over them; keeping the organ there would teach that a tumor
       is liver. An annotated lesion, though, is final: where the truth has one it stays, elsewhere none is added.

    Args:
        truth: Label map, (z, y, x), uint8; None where there is none.
        pseudo: Label map on the same grid, uint8; None where there is none.
        annotated: Ids of the annotated classes.
        taxonomy: The label table; says which classes are lesions.

    Returns:
        The fused label map, (z, y, x), uint8; a new array.

    Raises:
        GeometryError: The two maps differ in shape.
        InputError: A map holds, or ``annotated`` names, an id that is not in the table, or there is neither map.
    """
    if truth is None and pseudo is None:
        raise InputError("neither truth nor pseudo-label to fuse; give at least one label map")
    if truth is not None and pseudo is not None and truth.shape != pseudo.shape:
        raise GeometryError(
            f"truth of {truth.shape} and pseudo-label of {pseudo.shape} voxels (z, y, x); both must be on the case's grid"
        )
    for what, ids in (
        ("the truth", ids_in(truth)),
        ("the pseudo-label", ids_in(pseudo)),
        ("annotated", set(annotated)),
    ):
        check_ids(ids, taxonomy, what=what)

    kept, filled, over = (np.zeros(256, np.uint8) for _ in range(3))
    for item in taxonomy:
        (kept if item.id in annotated else filled)[item.id] = item.id
        over[item.id] = item.kind == "lesion" and item.id not in annotated
    lesion = [item.id for item in taxonomy if item.kind == "lesion"]

    if truth is None:
        return filled[pseudo]
    base: Labels = kept[truth]
    if pseudo is not None:
        free = base == 0
        free |= over[pseudo].astype(bool) & ~np.isin(base, lesion)
        np.copyto(base, filled[pseudo], where=free)
    return base


def ids_in(labels: Labels | None) -> set[int]:
    """The ids that occur in a label map, background left out."""
    if labels is None:
        return set()
    return {int(id) for id in np.flatnonzero(np.bincount(labels.ravel(), minlength=256))} - {0}


def check_ids(ids: Collection[int], taxonomy: Taxonomy, *, what: str) -> None:
    """Check that every id is in the table.

    Raises:
        InputError: One is not.
    """
    foreign = sorted(set(ids) - set(taxonomy.ids) - {0})
    if foreign:
        raise InputError(
            f"{what}: id {foreign[0]} is not in the label table {taxonomy.name}, which has {', '.join(map(str, taxonomy.ids))}"
        )
