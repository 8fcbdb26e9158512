"""An nnU-Net raw dataset.

``dataset.json`` lies beside ``imagesTr``, ``labelsTr`` and ``imagesTs``, or lists the files. The
format is described in nnU-Net's ``documentation/dataset_format.md``. Classes are matched to the
label table by name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnstudent.cohort.cohort import Role
from nnstudent.cohort.sources.source import Entry, Source, expand, safe_id, without_twins
from nnstudent.data_files import read_json_table
from nnstudent.errors import Failure, InputError
from nnstudent.io.finder import DICOM, case_names, channels_of, describe, list_folder
from nnstudent.io.nifti import SUFFIXES
from nnstudent.taxonomy import IGNORE, Kind, LabelClass, Taxonomy, flare23, spare_color
from nnstudent.words import count

# Other names that public datasets give to the classes.
_ALIASES = {
    "postcava": "inferior_vena_cava",
    "ivc": "inferior_vena_cava",
    "vena_cava": "inferior_vena_cava",
    "gall_bladder": "gallbladder",
    "oesophagus": "esophagus",
    "arota": "aorta",
    "tumour": "tumor",
    "rag": "right_adrenal_gland",
    "lag": "left_adrenal_gland",
    "adrenal_gland_right": "right_adrenal_gland",
    "adrenal_gland_left": "left_adrenal_gland",
    "kidney_right": "right_kidney",
    "kidney_left": "left_kidney",
}
_LESION = re.compile(r"tumou?r|lesion|cancer|metasta|cyst")


def recognizes(folder: Path) -> bool:
    """Whether the folder is an nnU-Net raw dataset."""
    return (folder / "dataset.json").is_file()


def read(folder: Path, *, taxonomy: Taxonomy | None = None) -> Source:
    """Read an nnU-Net raw dataset.

    Its classes are declared, because nnU-Net takes every class to be annotated in every training
    case. Voxels with the ignore label become :data:`~nnstudent.taxonomy.IGNORE`. Of regions
    (``"organ": [1, 2]``), a class is what remains of the region under its number in
    ``regions_class_order``, as in nnU-Net's predictions. Images of ``imagesTr`` without a label
    map and those of folders named ``unlabeled…`` are for training; ``imagesTs`` is for testing.

    Raises:
        InputError: ``dataset.json`` is malformed, the images have several channels, or none of its
            classes is in the table.
    """
    path = folder / "dataset.json"
    data = read_json_table(path, what="an nnU-Net dataset")
    if not isinstance(data, Mapping) or not isinstance(data.get("labels"), Mapping):
        raise InputError(
            f"{path}: has no labels; "
            "expected nnU-Net's dataset.json with channel_names, labels and file_ending"
        )
    ending = data.get("file_ending", ".nii.gz")
    if not isinstance(ending, str) or not ending.lower().endswith(SUFFIXES):
        raise InputError(
            f"{path}: file_ending {ending!r} cannot be read; expected one of {', '.join(SUFFIXES)}"
        )
    channels = data.get("channel_names", data.get("modality", {"0": "CT"}))
    if not isinstance(channels, Mapping) or len(channels) != 1:
        raise InputError(f"{path}: has the channels {channels}; expected exactly one, the CT")
    notices = []
    channel = str(next(iter(channels.values())))
    if channel.upper() != "CT":
        notices.append(f"{path}: the channel is called {channel!r}, not CT; it must hold HU")
    labels = _labels(path, data["labels"], order=data.get("regions_class_order"))
    table = taxonomy or _own_table(data, labels)
    ids = {id: _table_id(name, table) for name, id in labels.items()}
    dropped = sorted(name for name, id in labels.items() if ids[id] == 0 and not _is_ignore(name))
    if not set(ids.values()) & set(table.ids):
        raise InputError(
            f"{path}: none of its classes ({', '.join(labels)}) is in label table {table.name} "
            f"({', '.join(table.names)})"
        )
    if dropped:
        notices.append(
            f"{path}: {', '.join(dropped)} not in label table {table.name}: taken for background"
        )
    if _has_regions(data["labels"]):
        notices.append(
            f"{path}: has regions; a class is what remains of its region: "
            f"{', '.join(f'{name} is label {id}' for name, id in labels.items())}"
        )
    annotated = tuple(name for name in table.names if table[name].id in ids.values())
    mapping = None if all(a == b for a, b in ids.items()) else ids
    if "dataset" in data:
        entries, failures = _listed(folder, data["dataset"], annotated, mapping)
    else:
        entries, failures, passed = _found(folder, ending, annotated, mapping)
        notices += passed
    kept, twins = without_twins(entries)
    return Source(
        "an nnU-Net raw dataset",
        table,
        kept,
        (*twins, *failures),
        tuple(notices),
        declares_all=True,
    )


def _labels(path: Path, raw: Mapping[Any, Any], *, order: Any) -> dict[str, int]:
    """Name → id without the background; the first version of nnU-Net wrote id → name."""
    values = _of_regions(path, raw, order) if _has_regions(raw) else raw
    found: dict[str, int] = {}
    for key, given in values.items():
        value = given[0] if isinstance(given, list) and len(given) == 1 else given
        name, number = (value, key) if str(key).isdecimal() else (key, value)
        if not str(number).isdecimal() or not 0 <= int(number) <= 255:
            raise InputError(
                f"{path}: class {name!r} has id {number!r}; expected a whole number from 0 to 255"
            )
        if int(number) != 0:
            found[str(name)] = int(number)
    if not found or len(set(found.values())) != len(found):
        raise InputError(
            f"{path}: labels {dict(raw)}; expected a distinct name and id for each class"
        )
    return found


def _has_regions(raw: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, list) and len(value) > 1 for value in raw.values())


def _of_regions(path: Path, raw: Mapping[Any, Any], order: Any) -> dict[Any, Any]:
    """Region → its number in ``regions_class_order``; the ignore label keeps its own."""
    regions = [
        name for name, value in raw.items() if value not in (0, [0]) and not _is_ignore(str(name))
    ]
    ignored = {name: value for name, value in raw.items() if _is_ignore(str(name))}
    if not isinstance(order, list) or len(order) != len(regions):
        raise InputError(
            f"{path}: has {count(len(regions), 'region')} ({', '.join(map(str, regions))}) and "
            f"regions_class_order {order!r}; expected a number for each, in their order"
        )
    return dict(zip(regions, order, strict=True)) | ignored


def _plain(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return _ALIASES.get(plain, plain)


def _is_ignore(name: str) -> bool:
    """Whether this is nnU-Net's label for voxels that nobody looked at."""
    return _plain(name) == "ignore"


def _table_id(name: str, table: Taxonomy) -> int:
    """The class's id in the label table; 0 if the table does not have it."""
    plain = _plain(name)
    if _is_ignore(name):
        return IGNORE
    return table[plain].id if plain in table.names else 0


def _own_table(data: Mapping[str, Any], labels: Mapping[str, int]) -> Taxonomy:
    """FLARE23's table if these are its organs; otherwise one of the dataset's own names and ids.

    A class that FLARE23's table has too keeps what is known of it there. Only how far a lesion may
    lie from an organ is not: that holds where all the organs are labeled.
    """
    ours = data.get("nnstudent")
    if isinstance(ours, Mapping) and isinstance(ours.get("taxonomy"), Mapping):
        return Taxonomy.from_dict(ours["taxonomy"])
    names = {name: id for name, id in labels.items() if not _is_ignore(name)}
    plain = {name: _plain(name) for name in names}
    if set(flare23().organs) <= set(plain.values()) <= set(flare23().names):
        return flare23()
    rows = []
    for place, (name, id) in enumerate(sorted(names.items(), key=lambda row: row[1])):
        title = plain[name] if re.match("[a-z]", plain[name]) else f"class_{id}"
        if title in flare23().names:
            known = flare23()[title]
            partner = known.partner if known.partner in plain.values() else None
            rows.append(replace(known, id=id, partner=partner, reach_mm=0.0))
            continue
        kind: Kind = "lesion" if _LESION.search(title) else "organ"
        rows.append(LabelClass(id=id, name=title, kind=kind, color=spare_color(place)))
    return Taxonomy(safe_id(str(data.get("name", "nnunet"))), tuple(rows))


def _found(
    folder: Path, ending: str, annotated: tuple[str, ...], ids: Mapping[int, int] | None
) -> tuple[list[Entry], list[Failure], tuple[str, ...]]:
    entries: list[Entry] = []
    failures: list[Failure] = []
    passed: dict[str, list[Path]] = defaultdict(list)
    for images in sorted(path for path in folder.iterdir() if path.is_dir()):
        name = images.name.lower()
        if not name.startswith(("images", "unlabel")):
            continue
        role: Role = "test" if name.startswith(("imagests", "imagesval")) else "train"
        labels = (
            folder / ("labels" + images.name[len("images") :])
            if name.startswith("images")
            else None
        )
        truth = (
            {file.name[: -len(ending)]: file for file in _ending(labels, ending, passed)}
            if labels and labels.is_dir()
            else {}
        )
        used: set[str] = set()
        for file, case in _cases(_ending(images, ending, passed), ending, truth).items():
            label = truth.get(case)
            used.add(case)
            entries.append(
                Entry(
                    safe_id(case),
                    file,
                    label,
                    annotated if label else None,
                    role,
                    ids if label else None,
                )
            )
        failures += [
            Failure(safe_id(case), f"{file}: a label map without an image of that name")
            for case, file in truth.items()
            if case not in used
        ]
    return entries, failures, describe(passed, root=folder)


def _ending(folder: Path, ending: str, passed: dict[str, list[Path]]) -> list[Path]:
    """The images with the file ending of dataset.json; other files are added to ``passed``."""
    listing = list_folder(folder)
    for kind, paths in listing.passed_over.items():
        passed[kind].extend(paths)
    passed[DICOM].extend(listing.dicom)
    passed[f"image that does not end in {ending}, the file_ending of dataset.json"].extend(
        path for path in listing.volumes if not path.name.endswith(ending)
    )
    return [path for path in listing.volumes if path.name.endswith(ending)]


def _cases(files: Sequence[Path], ending: str, truth: Collection[str]) -> dict[Path, str]:
    """The case of each image.

    ``_0000`` at the end of a name is left out if a label map or all other images show that it is
    the channel.

    Raises:
        InputError: The images have several channels.
    """
    if channels := channels_of(files):
        raise InputError(
            f"{files[0].parent}: holds {len(channels)} channels of each case; "
            f"expected one, the CT, ending in _0000{ending}"
        )
    names = {}
    for file, name in case_names(files).items():
        whole = file.name[: -len(ending)]
        bare = whole.removesuffix("_0000")
        names[file] = bare if bare in truth and whole not in truth else name
    return names


def _listed(
    folder: Path, listed: Any, annotated: tuple[str, ...], ids: Mapping[int, int] | None
) -> tuple[list[Entry], list[Failure]]:
    entries: list[Entry] = []
    failures: list[Failure] = []
    for case, row in listed.items() if isinstance(listed, Mapping) else ():
        images = row.get("images") if isinstance(row, Mapping) else None
        label = row.get("label") if isinstance(row, Mapping) else None
        if (
            not isinstance(images, list)
            or len(images) != 1
            or not isinstance(images[0], str)
            or not isinstance(label, str | None)
        ):
            failures.append(
                Failure(
                    safe_id(str(case)),
                    f"{folder / 'dataset.json'}: {row}; expected one image and one label",
                )
            )
            continue
        where = f"{folder / 'dataset.json'}: {case}"
        image = expand(images[0], root=folder, where=where)
        truth = expand(label, root=folder, where=where) if label else None
        entries.append(
            Entry(
                safe_id(str(case)),
                image,
                truth,
                annotated if truth else None,
                "train",
                ids if truth else None,
            )
        )
    return entries, failures
