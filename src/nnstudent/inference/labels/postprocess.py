"""Correcting a label map by the anatomy in the label table.

The rules work on connected pieces and on facts from the label table. A class without the fact
stays as it is; what is removed becomes background. A rule sees only the runs of foreground
(:mod:`~nnstudent.inference.labels.run_length`): it can relabel or remove a run, but neither split
one nor add voxels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy

from nnstudent.choices import DEFAULT_RULES
from nnstudent.errors import InputError
from nnstudent.inference.labels.run_length import Runs, connected, find_runs, paint
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.types import Float64Array, IndexArray, LabelArray
from nnstudent.volume import Grid, Volume

# A piece with at least this share of an organ's largest piece stays: it may belong to another body
# in the image, or is an ambiguity to show.
SECOND = 0.5
# An organ with less than this share of its least volume is a speck; measured in
# docs/explanation/postprocess.md.
SPECK = 0.1
BEYOND_MM = 15.0  # a piece whose middle lies so far to one side belongs to the organ of that side
_CELL_MM = 4.0  # coarse enough that distances to organs cost next to nothing


def postprocess(labels: Volume, taxonomy: Taxonomy, *, rules: Collection[str]) -> Volume:
    """Apply rules to a label map.

    Args:
        labels: The label map, (z, y, x), uint8.
        taxonomy: Its label table.
        rules: Names of rules in :data:`RULES`, in whose order they are applied.

    Returns:
        The same volume if nothing changes, otherwise a new one on the same grid.

    Raises:
        InputError: There is no rule of one of these names.
    """
    check_rules(rules)
    runs = find_runs(labels.array)
    label = runs.label
    for name, rule in RULES.items():
        if name in rules:
            label = rule(replace(runs, label=label), labels.grid, taxonomy)
    if np.array_equal(label, runs.label):
        return labels
    array = np.array(labels.array, np.uint8, order="C")
    paint(runs, label, array)
    return Volume(array, labels.grid)


def check_rules(rules: Collection[str]) -> None:
    """Refuse names that are not rules.

    Raises:
        InputError: There is no rule of one of these names.
    """
    for name in rules:
        if name not in RULES:
            raise InputError(
                f"post-processing {name!r}; expected none, or some of {','.join(RULES)}"
            )


def sides(runs: Runs, grid: Grid, taxonomy: Taxonomy) -> LabelArray:
    """Relabel pieces of a paired organ that lie on the other side of the body as its partner.

    The body's middle is the mean of the organs that the table places in the middle, in patient
    coordinates; without any, nothing changes.

    Args:
        runs: The label map.
        grid: Its grid.
        taxonomy: Its label table; the rule uses ``side`` and ``partner``.

    Returns:
        The new label of each run.
    """
    z, y, x = runs.places
    right = np.stack([x, y, z], axis=-1) @ grid.affine[0, :3]  # RAS+ grows to the patient's right
    length = runs.stop - runs.start
    middles = [
        _mean(right, length, runs.label == item.id) for item in taxonomy if item.side == "middle"
    ]
    known = [middle for middle in middles if middle is not None]
    label = runs.label.copy()
    if not known:
        return label
    piece = connected(runs)
    beyond = np.bincount(piece, right * length) / np.bincount(piece, length) - np.mean(known)
    for item in taxonomy:
        if item.partner is not None and item.side in ("left", "right"):
            wrong = beyond > BEYOND_MM if item.side == "left" else beyond < -BEYOND_MM
            label[(runs.label == item.id) & wrong[piece]] = taxonomy[item.partner].id
    return label


def largest(runs: Runs, grid: Grid, taxonomy: Taxonomy) -> LabelArray:
    """Keep the largest pieces of each organ, as many as the table allows.

    Pieces at least half as large as the smallest of these stay too, because an image may show
    several bodies. A lesion in an organ does not divide it.

    Arguments and result are those of :func:`sides`; the rule uses ``components``.
    """
    piece = connected(runs, through=_ids(taxonomy, lambda item: item.kind == "lesion"))
    size, of = _pieces(runs, piece)
    least = np.zeros(256)
    for item in taxonomy:
        own = np.sort(size[of == item.id])
        if 0 < item.components < len(own):
            least[item.id] = SECOND * own[-item.components]
    return np.where((size < least[of])[piece], np.uint8(0), runs.label)


def small(runs: Runs, grid: Grid, taxonomy: Taxonomy) -> LabelArray:
    """Remove specks: organs under a tenth of their least volume, and lesions under theirs.

    The table's least volume is that of a whole organ. A network often finds less than half of a
    small one and is still right, so that only far smaller organs are removed. An organ that the
    image's border cuts may extend beyond it and stays. Lesions are judged piece by piece.

    Arguments and result are those of :func:`sides`; the rule uses ``minimum_ml``.
    """
    piece = connected(runs)
    size, of = _pieces(runs, piece)
    least = np.zeros(256)
    least[list(taxonomy.ids)] = [item.minimum_ml for item in taxonomy]
    lesion = np.isin(of, _ids(taxonomy, lambda item: item.kind == "lesion"))
    whole = np.bincount(of, size, minlength=256)
    cut = np.isin(of, runs.label[runs.at_border])
    gone = (
        np.where(lesion, size, whole[of]) * grid.voxel_ml < np.where(lesion, 1.0, SPECK) * least[of]
    )
    return np.where((gone & ~cut)[piece], np.uint8(0), runs.label)


def tumor(runs: Runs, grid: Grid, taxonomy: Taxonomy) -> LabelArray:
    """Remove pieces of lesions that lie farther from every organ than the table allows.

    Arguments and result are those of :func:`sides`; the rule uses ``reach_mm``.
    """
    reach = np.full(256, math.inf)
    for item in taxonomy:
        if item.kind == "lesion" and item.reach_mm:
            reach[item.id] = item.reach_mm
    if not np.isfinite(reach[runs.label]).any():
        return runs.label
    step = [max(1, int(_CELL_MM / mm)) for mm in grid.spacing_mm]
    z, y, first = (
        index // by
        for index, by in zip(np.unravel_index(runs.start, runs.shape), step, strict=True)
    )
    last = (runs.stop - 1) % runs.shape[2] // step[2]
    organ = np.isin(runs.label, _ids(taxonomy, lambda item: item.kind == "organ"))
    # A run begins in one cell and ends in another: where more have begun than ended is organ.
    begun = np.zeros(
        [
            math.ceil(size / by) + (axis == 2)
            for axis, (size, by) in enumerate(zip(runs.shape, step, strict=True))
        ],
        np.int32,
    )
    np.add.at(begun, (z[organ], y[organ], first[organ]), 1)
    np.add.at(begun, (z[organ], y[organ], last[organ] + 1), -1)
    free = np.cumsum(begun, axis=2)[:, :, :-1] == 0
    if free.all():  # there is no organ
        return np.where(np.isfinite(reach[runs.label]), np.uint8(0), runs.label)
    distance = scipy.ndimage.distance_transform_edt(
        free, sampling=[by * mm for by, mm in zip(step, grid.spacing_mm, strict=True)]
    )
    piece = connected(runs)
    size, of = _pieces(runs, piece)
    nearest = np.full(len(size), math.inf)
    np.minimum.at(nearest, piece, np.minimum(distance[z, y, first], distance[z, y, last]))
    return np.where((nearest > reach[of])[piece], np.uint8(0), runs.label)


# From the runs, the grid and the label table to the new label of each run.
Rule = Callable[[Runs, Grid, Taxonomy], LabelArray]
# In the order in which they are applied; choices.py has their names for --help.
RULES: dict[str, Rule] = {"sides": sides, "largest": largest, "small": small, "tumor": tumor}
DEFAULT = DEFAULT_RULES


def _pieces(runs: Runs, piece: IndexArray) -> tuple[Float64Array, LabelArray]:
    """Voxels and label of each piece."""
    size: Float64Array = np.asarray(np.bincount(piece, runs.stop - runs.start), np.float64)
    of = np.zeros(len(size), np.uint8)
    of[piece] = runs.label
    return size, of


def _ids(taxonomy: Taxonomy, wanted: Callable[[LabelClass], bool]) -> list[int]:
    return [item.id for item in taxonomy if wanted(item)]


def _mean(values: Float64Array, weights: IndexArray, where: npt.NDArray[np.bool_]) -> float | None:
    return float(np.average(values[where], weights=weights[where])) if where.any() else None
