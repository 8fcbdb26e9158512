"""How much a case's pseudo-label changes from round to round: what does not settle is not to be trusted.

The score is of the winner of FLARE22: Huang et al., "Revisiting nnU-Net for iterative pseudo labeling and efficient sliding window
inference". There the voxels that changed are counted against the foreground; here against what is foreground in either round, so that the
score is from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnstudent.cohort.cohort import Case
from nnstudent.io.atomic import write_json
from nnstudent.io.nifti import read_labels
from nnstudent.io.record import data_hash, file_hash
from nnstudent.pseudo import pseudo_label
from nnstudent.serialization import read_json_table
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray


def changed(
    old: LabelArray, new: LabelArray, classes: Mapping[str, int]
) -> tuple[float, dict[str, float]]:
    """Which share of the foreground two label maps disagree on.

    Args:
        old: Label map, (z, y, x), uint8.
        new: Another on the same grid.
        classes: Name → id of what counts; everything else is background.

    Returns:
        Of all voxels that are foreground in either the share that differs, 0 to 1, and the same of each class by itself; 0 where
        neither has any.
    """
    kept = np.zeros(256, np.uint8)
    kept[list(classes.values())] = list(classes.values())
    old, new = kept[old], kept[new]
    same = np.bincount(old[old == new], minlength=256)
    either = (
        np.bincount(old.ravel(), minlength=256) + np.bincount(new.ravel(), minlength=256) - same
    )
    foreground = int(((old > 0) | (new > 0)).sum())
    by_class = {
        name: 1 - float(same[id] / either[id]) if either[id] else 0.0
        for name, id in classes.items()
    }
    return (1 - float(same[1:].sum()) / foreground if foreground else 0.0), by_class


def compare(case: Case, folder: Path, *, before: Path, taxonomy: Taxonomy) -> None:
    """Write into the record of a case's pseudo-label how much it differs from that of the round before, and the mean over rounds.

    Counted are the classes that both rounds know and the case has not annotated. Without a pseudo-label before there is nothing to
    compare.

    Args:
        case: The case; its pseudo-label is in ``folder``.
        folder: Folder of this round.
        before: Folder of the round before.
        taxonomy: The label table.

    Raises:
        GeometryError: The two are on different grids.
        InputError: A file is unreadable.
    """
    then, now = (pseudo_label.read_pseudo_label(place, case.id) for place in (before, folder))
    if then is None or now is None:
        return
    (old, _), (new, record) = (pseudo_label.paths(place, case.id) for place in (before, folder))
    against = data_hash([file_hash(old), then.changes, dict(then.class_change)])
    if now.against == against:
        return
    maps = read_labels(old), read_labels(new)
    maps[1].grid.require(
        maps[0].grid, what=str(old), of="this round's pseudo-label", advice="label that round again"
    )
    known = (
        set(taxonomy.names).intersection(
            *(item.classes for item in (then, now) if item.classes is not None)
        )
        - case.annotated
    )
    share, by_class = changed(
        maps[0].array, maps[1].array, {name: taxonomy[name].id for name in taxonomy.sorted(known)}
    )
    rounds = len(then.changes)
    for name, value in by_class.items():
        if name in then.class_change:
            by_class[name] = (rounds * then.class_change[name] + value) / (rounds + 1)
    told = {
        "changes": [*then.changes, round(share, 6)],
        "class_change": {name: round(value, 6) for name, value in by_class.items()},
    }
    write_json(record, read_json_table(record, what="a pseudo-label") | told | {"against": against})
