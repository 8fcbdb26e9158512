"""Applies a class map to a label map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnstudent.labels.sides import split_sides
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray
from nnstudent.volume import Volume


def apply_map(
    labels: Volume,
    values: Mapping[int, tuple[str, ...]],
    taxonomy: Taxonomy,
    *,
    lines: list[str],
) -> LabelArray:
    """Return a label map with the ids of a label table.

    Args:
        labels: The label map, with its maker's values.
        values: Value → class, or the right and the left class of a pair; other values become
            background.
        taxonomy: The label table.
        lines: Gets a line for each thing that was passed over or had to be guessed.
    """
    table = np.zeros(256, np.uint8)
    for value, targets in values.items():
        table[value] = taxonomy[targets[0]].id
    present = np.flatnonzero(np.bincount(labels.array.ravel(), minlength=256)).tolist()
    dropped = [value for value in present if value and value not in values]
    if dropped:
        some = ", ".join(map(str, dropped[:8])) + (" …" if len(dropped) > 8 else "")
        lines.append(f"values that are none of the label table became background: {some}")
    array: LabelArray = table[labels.array]
    for value in present:
        targets = values.get(value, ())
        if len(targets) < 2:
            continue
        _, left, guessed = split_sides(labels.array == value, labels.grid)
        array[left] = taxonomy[targets[1]].id
        if guessed:
            lines.append(
                f"{targets[0]} and {targets[1]} were told apart by the middle of the image, "
                "because only one side has a large piece; look at them"
            )
    return array
