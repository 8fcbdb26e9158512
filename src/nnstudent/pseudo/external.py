"""Label maps that another program made, taken as pseudo-labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnstudent.cohort.cohort import Case
from nnstudent.cohort.fuse import check_ids, ids_in
from nnstudent.errors import InputError
from nnstudent.io.finder import label_maps
from nnstudent.io.nifti import read_grid, read_labels
from nnstudent.labels.apply import apply_map
from nnstudent.labels.class_maps import ClassMap, as_map, declared_names
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume


@dataclass(frozen=True, eq=False)
class ExternalLabels:
    """A folder of label maps, one for each case, named after the case.

    Attributes:
        folder: The folder.
        files: Case id → label map.
        classes: The classes that their maker knows; None if nothing says so.
        values: Value in a file → class, or the right and the left class of a pair; None if the
            values are the label table's ids.
        notices: What in the folder is not a label map, one line for each kind.
    """

    folder: Path
    files: Mapping[str, Path]
    classes: tuple[str, ...] | None
    values: Mapping[int, tuple[str, ...]] | None
    notices: tuple[str, ...] = ()


def find_external_labels(
    folder: Path, taxonomy: Taxonomy, *, mapping: ClassMap | Mapping[str, str] | None = None
) -> ExternalLabels:
    """Find the label maps in a folder and what their values mean.

    The meaning comes from ``mapping``; without it, from the names in a ``dataset.json`` beside the
    maps, as nnU-Net writes it; without that, the values are the label table's ids.

    Args:
        folder: The folder; its label maps are called ``<case>.nii.gz`` or the like.
        taxonomy: The label table.
        mapping: Value, or name in ``dataset.json`` → class, or a class map; anything else becomes
            background.

    Raises:
        InputError: The folder is missing, has no label map or two with one name, or ``mapping``
            names an unknown value or class.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected label maps named after the cases")
    files, notices = label_maps(folder)
    if not files:
        raise InputError(
            f"{folder}: no label map in it; expected <case>.nii.gz, named after the cases"
        )
    named = declared_names(folder)
    if mapping is None:
        mapping = {name: name for name in named if name in taxonomy.names}
        if not mapping:
            return ExternalLabels(folder, files, None, None, notices)
    values = as_map(mapping, taxonomy=taxonomy).values(named, where=f"--map: {folder}")
    classes = taxonomy.sorted(name for names in values.values() for name in names)
    return ExternalLabels(folder, files, classes, values, notices)


def read_external_labels(external: ExternalLabels, case: Case, *, taxonomy: Taxonomy) -> Volume:
    """Read the label map of one case, with the label table's ids.

    Raises:
        InputError: It is unreadable or holds a value that is not in the table.
        GeometryError: It is not on the image's grid.
    """
    path = external.files[case.id]
    labels = read_labels(path)
    grid = read_grid(case.image)
    grid.require(labels.grid, what=str(path), advice="resample the label map onto the image")
    array = labels.array
    if external.values is not None:
        array = apply_map(labels, external.values, taxonomy, lines=[])
    check_ids(ids_in(array), taxonomy, what=str(path))
    return Volume(array, grid)
