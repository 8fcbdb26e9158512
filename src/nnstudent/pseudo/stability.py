"""How much a case's pseudo-label changes from round to round; an unstable one is not to be trusted.

The score is that of the winner of FLARE22: Huang et al., "Revisiting nnU-Net for iterative pseudo
labeling and efficient sliding window inference". There the voxels that changed are divided by the
foreground; here by the voxels that are foreground in either round, so that the score is 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnstudent.cohort.cohort import Case
from nnstudent.data_files import read_json_table
from nnstudent.io.atomic import write_json
from nnstudent.io.nifti import read_labels
from nnstudent.io.record import data_hash, file_hash
from nnstudent.pseudo.pseudo_label import pseudo_label_paths, read_pseudo_label
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray


def changed_share(
    old: LabelArray, new: LabelArray, *, classes: Mapping[str, int]
) -> tuple[float, dict[str, float]]:
    """Compute the share of the foreground in which two label maps differ.

    Args:
        old: Label map, (z, y, x), uint8.
        new: Another one on the same grid.
        classes: Name → id of the classes that count; every other id is background.

    Returns:
        The share, 0 to 1, of the voxels that are foreground in either map; and the same for each
        class alone. A share of nothing is 0.
    """
    counted = np.zeros(256, np.uint8)
    counted[list(classes.values())] = list(classes.values())
    old, new = counted[old], counted[new]
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


def record_change(case: Case, folder: Path, *, previous: Path, taxonomy: Taxonomy) -> None:
    """Add to the record of a pseudo-label how much it changed since the previous round.

    Only classes count that both rounds know and that are not annotated in the case. If there is no
    previous pseudo-label, nothing is added.

    Args:
        case: The case; its pseudo-label is in ``folder``.
        folder: Folder of this round.
        previous: Folder of the previous round.
        taxonomy: The label table.

    Raises:
        GeometryError: The two label maps are on different grids.
        InputError: A file is unreadable.
    """
    before, now = (read_pseudo_label(place, case.id) for place in (previous, folder))
    if before is None or now is None:
        return
    old_path, _ = pseudo_label_paths(previous, case.id)
    new_path, record_path = pseudo_label_paths(folder, case.id)
    identity = data_hash([file_hash(old_path), before.changes, dict(before.class_change)])
    if now.compared_with == identity:
        return
    old, new = read_labels(old_path), read_labels(new_path)
    new.grid.require(
        old.grid,
        what=str(old_path),
        of="this round's pseudo-label",
        advice="label that round again",
    )
    known = set(taxonomy.names)
    for item in (before, now):
        known = known if item.classes is None else known.intersection(item.classes)
    classes = {name: taxonomy[name].id for name in taxonomy.sorted(known - case.annotated)}
    share, by_class = changed_share(old.array, new.array, classes=classes)
    rounds = len(before.changes)
    for name, value in by_class.items():
        if name in before.class_change:
            by_class[name] = (rounds * before.class_change[name] + value) / (rounds + 1)
    write_json(
        record_path,
        {
            **read_json_table(record_path, what="a pseudo-label"),
            "changes": [*before.changes, round(share, 6)],
            "class_change": {name: round(value, 6) for name, value in by_class.items()},
            "compared_with": identity,
        },
    )
