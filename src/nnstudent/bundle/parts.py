"""Models of several parts, whose labels make one map, such as TotalSegmentator's five."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nnstudent.bundle.labels import joint_table
from nnstudent.bundle.nnunet import PARTS, Folder, models_in, open_folder
from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError
from nnstudent.taxonomy import Taxonomy
from nnstudent.words import did_you_mean

_MOST = 64  # parts


def open_folders(
    path: Path, *, fold: int | str | None = None, trust_pickle: bool = False
) -> list[Folder]:
    """Open an nnU-Net model folder, or all parts of a folder with ``parts.json``.

    ``parts.json`` lists the model folders beside it, and may give the values of their labels::

        {"parts": ["organs", "ribs"], "labels": {"liver": 1, "rib_left_1": 2}}

    Without ``labels`` the classes are numbered in the order of the parts. Where two parts find
    something in the same voxel, the later one decides.

    Args:
        path: The folder.
        fold: One fold by its number or ``all``; None for every numbered fold.
        trust_pickle: Also read checkpoints that hold more than tensors and numbers.

    Returns:
        At least one folder; all have the same label table.

    Raises:
        InputError: A part is missing or not supported, or the list or the values are malformed.
        MissingExtraError: torch is not installed.
    """
    if not (path / PARTS).is_file():
        return [open_folder(path, fold=fold, trust_pickle=trust_pickle)]
    table = read_json_table(path / PARTS, what="the parts of a model")
    folders = [
        open_folder(path / name, fold=fold, trust_pickle=trust_pickle)
        for name in _names(path, table)
    ]
    taxonomy = _taxonomy(path, folders, table)
    return [replace(folder, taxonomy=taxonomy) for folder in folders]


def _names(path: Path, table: Mapping[str, object]) -> list[str]:
    """The names of the parts; each is one of the model folders that lie here."""
    given = table.get("parts")
    there = models_in(path)
    if not isinstance(given, list) or not 1 <= len(given) <= _MOST:
        raise InputError(
            f'{path / PARTS}: expected {{"parts": [NAME, …]}}, the model folders beside it'
            f" ({', '.join(there[:5]) or 'there is none'})"
        )
    for name in given:
        if name not in there or given.count(name) > 1:
            raise InputError(
                f"{path / PARTS}: {str(name)[:80]!r} "
                f"{'is listed twice' if name in there else 'is no model folder beside it'}"
                f"{did_you_mean(str(name), there)}"
            )
    return given


def _taxonomy(path: Path, folders: list[Folder], table: Mapping[str, object]) -> Taxonomy:
    values = table.get("labels")
    if values is not None and not isinstance(values, Mapping):
        raise InputError(f"{path / PARTS}: labels are no table of NAME: VALUE")
    first = folders[0].taxonomy
    if values is None and all(folder.taxonomy == first for folder in folders):
        return first
    classes = dict.fromkeys(name for folder in folders for name in folder.spec.foreground)
    return joint_table(
        list(classes), values=values, name=str(path / PARTS) if values else path.name
    )
