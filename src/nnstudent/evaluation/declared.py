"""The label table that a folder of label maps declares.

nnU-Net writes a dataset.json beside its predictions and its training data.
"""

from __future__ import annotations

from pathlib import Path

from nnstudent.bundle.labels import classes_of
from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError
from nnstudent.taxonomy import Taxonomy, flare23


def declared_table(folder: Path) -> Taxonomy | None:
    """The label table of the dataset.json in a folder; None if there is none.

    For nnU-Net's ``labelsTr`` and ``labelsTs``, dataset.json lies in the folder above.

    Raises:
        InputError: dataset.json is malformed.
    """
    places = [folder, *([folder.absolute().parent] if folder.name.startswith("labelsT") else [])]
    path = next(
        (place / "dataset.json" for place in places if (place / "dataset.json").is_file()), None
    )
    if path is None:
        return None
    data = read_json_table(path, what="an nnU-Net dataset")
    return classes_of(data, name=str(path))[1]


def common_table(predictions: Path, truth: Path) -> Taxonomy:
    """The label table that one of two folders declares, or FLARE23's if neither does.

    Raises:
        InputError: Both declare a table, and a class has different ids in them.
    """
    tables = [
        table for table in (declared_table(truth), declared_table(predictions)) if table is not None
    ]
    if not tables:
        return flare23()
    first, *others = tables
    for other in others:
        for item in other:
            if item.name in first.names and first[item.name].id != item.id:
                raise InputError(
                    f"{item.name} is {item.id} in {predictions} and {first[item.name].id} in "
                    f"{truth}, according to the dataset.json of each; segment again with "
                    "--taxonomy, or give with --taxonomy the label table that both have"
                )
    return first
