"""Labels that another program made, taken in as pseudo-labels: found, checked, and written under the label table's ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.bundle.labels import label_value
from nnstudent.cohort.cohort import Case
from nnstudent.cohort.fuse import check_ids, ids_in
from nnstudent.errors import InputError
from nnstudent.io.finder import label_maps
from nnstudent.io.nifti import read_grid, read_labels
from nnstudent.serialization import read_json_table
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume

Table = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """A folder of label maps, one a case, named after the case.

    Attributes:
        folder: The folder.
        files: Case id → label map.
        classes: The classes that their maker knows, or None where nothing says so.
        table: Value in a file → id in the label table, or None to take the values as they are.
        notices: What in the folder is no label map, a line a kind.
    """

    folder: Path
    files: Mapping[str, Path]
    classes: tuple[str, ...] | None
    table: Table | None
    notices: tuple[str, ...] = ()


def find(
    folder: Path, taxonomy: Taxonomy, *, mapping: Mapping[str, str] | None = None
) -> Elsewhere:
    """Look through a folder of label maps.

    What the values mean is said by ``mapping``; else by the names in a ``dataset.json`` beside the maps, as nnU-Net writes it;
    else they are the label table's own ids.

    Args:
        folder: The folder; its label maps are called ``<case>.nii.gz`` or the like.
        taxonomy: The label table.
        mapping: Value, or name in ``dataset.json`` → class; what is not named becomes background.

    Raises:
        InputError: The folder is missing, has no label map or two of one name, or ``mapping`` names a value or class that there is not.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected label maps named after the cases")
    files, notices = label_maps(folder)
    if not files:
        raise InputError(
            f"{folder}: no label map in it; expected <case>.nii.gz, named after the cases"
        )
    named: dict[str, int] = {}
    if (folder / "dataset.json").is_file():
        named = label_names(
            read_json_table(folder / "dataset.json", what="an nnU-Net dataset"), where=folder
        )
    if mapping is None:
        mapping = {name: name for name in named if name in taxonomy.names}
        if not mapping:
            return Elsewhere(folder, files, None, None, notices)
    table = np.zeros(256, np.uint8)
    for foreign, name in mapping.items():
        value = named.get(foreign, int(foreign) if foreign.isdecimal() else -1)
        if not 1 <= value <= 255:
            raise InputError(
                f"--map {foreign}={name}: {folder} has no {foreign!r}; give a value from 1 to 255{_or_one_of(named)}"
            )
        table[value] = taxonomy[name].id
    return Elsewhere(folder, files, taxonomy.sorted(mapping.values()), table, notices)


def label_names(dataset: Mapping[str, Any], *, where: Path) -> dict[str, int]:
    """Name → value of the single-valued labels in an nnU-Net ``dataset.json``, background and what is ignored left out.

    Raises:
        InputError: There is no table of labels, or a label is a region of several values.
    """
    labels = dataset.get("labels")
    if not isinstance(labels, Mapping):
        raise InputError(
            f"{where}: dataset.json has no labels; expected name = value for each class"
        )
    regions = [name for name, value in labels.items() if not isinstance(value, int | str)]
    if regions:
        raise InputError(
            f"{where}: {regions[0]!r} is a region of several labels; only models whose labels exclude each other can be used"
        )
    values = {name: label_value(value, name=str(where)) for name, value in labels.items()}
    return {name: value for name, value in values.items() if value > 0 and name != "ignore"}


def read(source: Elsewhere, case: Case, taxonomy: Taxonomy) -> Volume:
    """Read the label map of one case under the label table's ids.

    Raises:
        InputError: It is unreadable or holds a value that is not in the table.
        GeometryError: It is not on the image's grid.
    """
    labels = read_labels(source.files[case.id])
    grid = read_grid(case.image)
    grid.require(
        labels.grid, what=str(source.files[case.id]), advice="resample the label map onto the image"
    )
    array = labels.array if source.table is None else source.table[labels.array]
    check_ids(ids_in(array), taxonomy, what=str(source.files[case.id]))
    return Volume(array, grid)


def _or_one_of(named: Mapping[str, int]) -> str:
    return f" or one of {', '.join(named)}" if named else ""
