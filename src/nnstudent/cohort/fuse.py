"""Fusing truth and pseudo-labels voxel by voxel; the truth takes precedence."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from nnstudent.errors import GeometryError, InputError
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray


def fuse(
    truth: LabelArray | None,
    pseudo: LabelArray | None,
    *,
    annotated: Collection[int],
    taxonomy: Taxonomy,
) -> LabelArray:
    """Complete a partly annotated label map with pseudo-labels for the other classes.

    The truth decides on every annotated class, the pseudo-label on every other class:

    1. An annotated class lies exactly where the truth has it. Pseudo-label voxels of an annotated
       class become background, because somebody looked there and did not find it.
    2. A class that is not annotated comes from the pseudo-label, and only where the truth is
       background. Truth voxels of such a class count as background, because nobody vouches that
       they are complete.
    3. There is one exception: a lesion that is *not* annotated replaces annotated organs. In
       FLARE's labels tumors replace organ voxels, so somebody who draws a liver without looking
       for tumors draws over them; keeping the organ there would teach that a tumor is liver. An
       annotated lesion is final: the truth's lesions stay, and none is added.

    Args:
        truth: Label map, (z, y, x), uint8; None if there is none.
        pseudo: Pseudo-label on the same grid, uint8; None if there is none.
        annotated: Ids of the annotated classes.
        taxonomy: The label table, which says which classes are lesions.

    Returns:
        The fused label map, (z, y, x), uint8; a new array.

    Raises:
        GeometryError: The two maps differ in shape.
        InputError: A map or ``annotated`` has an id that is not in the table, or both maps are
            None.
    """
    if truth is None and pseudo is None:
        raise InputError("neither truth nor pseudo-label to fuse; give at least one label map")
    if truth is not None and pseudo is not None and truth.shape != pseudo.shape:
        raise GeometryError(
            f"truth of {truth.shape} and pseudo-label of {pseudo.shape} voxels (z, y, x); "
            "expected both on the case's grid"
        )
    for what, ids in (
        ("the truth", ids_in(truth)),
        ("the pseudo-label", ids_in(pseudo)),
        ("annotated", set(annotated)),
    ):
        check_ids(ids, taxonomy, what=what)

    from_truth, from_pseudo, replaces_organs = (np.zeros(256, np.uint8) for _ in range(3))
    for item in taxonomy:
        (from_truth if item.id in annotated else from_pseudo)[item.id] = item.id
        replaces_organs[item.id] = item.kind == "lesion" and item.id not in annotated
    lesions = [item.id for item in taxonomy if item.kind == "lesion"]

    if truth is None:
        return from_pseudo[pseudo]
    fused: LabelArray = from_truth[truth]
    if pseudo is not None:
        free = fused == 0
        free |= replaces_organs[pseudo].astype(bool) & ~np.isin(fused, lesions)
        np.copyto(fused, from_pseudo[pseudo], where=free)
    return fused


def ids_in(labels: LabelArray | None) -> set[int]:
    """The ids that occur in a label map, without background."""
    if labels is None:
        return set()
    return {int(id) for id in np.flatnonzero(np.bincount(labels.ravel(), minlength=256))} - {0}


def check_ids(ids: Collection[int], taxonomy: Taxonomy, *, what: str) -> None:
    """Check that every id is in the table.

    Raises:
        InputError: An id is not in the table.
    """
    foreign = sorted(set(ids) - set(taxonomy.ids) - {0})
    if foreign:
        raise InputError(
            f"{what}: id {foreign[0]} is not in the label table {taxonomy.name}; "
            f"expected one of {', '.join(map(str, taxonomy.ids))}"
        )
