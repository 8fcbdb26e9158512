"""Matching a foreign network's channels to the classes of a label table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nnstudent.bundle.spec import BACKGROUND
from nnstudent.errors import InputError
from nnstudent.taxonomy import LabelClass, Taxonomy, flare23, spare_color
from nnstudent.words import did_you_mean

# Names of FLARE23 classes in public models and challenges.
_ALIASES = {
    "ivc": "inferior_vena_cava",
    "postcava": "inferior_vena_cava",
    "oesophagus": "esophagus",
    "gall_bladder": "gallbladder",
    "rag": "right_adrenal_gland",
    "lag": "left_adrenal_gland",
    "lesion": "tumor",
    "tumour": "tumor",
}


def classes_of(dataset: Mapping[str, Any], *, name: str) -> tuple[tuple[str, ...], Taxonomy]:
    """The class name of each channel, and the label table of the classes.

    This package's models carry both under ``nnstudent``. For others the table is made from
    ``labels``, with their values, as stock nnU-Net writes them; a class of the FLARE23 table, under
    its own or another common name, has its name from there. If the model has regions, a class is
    what nnU-Net labels with the region's number in ``regions_class_order``: the region without
    those that come after it.

    Args:
        dataset: nnU-Net's dataset.json.
        name: Name of the table that is made.

    Raises:
        InputError: The labels are not 0, 1, 2, …, or contradict the table, or two regions have the
            same label.
    """
    labels = dataset.get("labels")
    if not isinstance(labels, Mapping) or not labels:
        raise InputError(
            f"{name}: dataset.json has no labels; expected nnU-Net v2's {{name: number}}"
        )
    if has_regions(dataset):
        return _foreign(_regions(labels, dataset.get("regions_class_order"), name), name)
    channels = own_names(dataset, name=name)
    if sorted(channels) != list(range(len(channels))):
        raise InputError(
            f"{name}: label values are {sorted(channels)}; nnU-Net needs 0, 1, 2, … without a gap"
        )
    own = dataset.get("nnstudent")
    if (
        isinstance(own, Mapping)
        and isinstance(own.get("taxonomy"), Mapping)
        and isinstance(own.get("classes"), Mapping)
    ):
        try:
            taxonomy = Taxonomy.from_dict(own["taxonomy"])
        except InputError as error:
            raise InputError(f"{name}: dataset.json: {error}") from error
        names = {
            label_value(channel, name=name): str(label)
            for channel, label in own["classes"].items()
            if str(label) != BACKGROUND
        }
        if sorted(names) != sorted(channels)[1:]:
            raise InputError(
                f"{name}: dataset.json names classes {sorted(names)} under nnstudent, "
                f"but labels are {sorted(channels)[1:]}"
            )
        taxonomy.sorted(names.values())
        return (BACKGROUND, *(names[channel] for channel in sorted(names))), taxonomy
    return _foreign(dict(sorted(channels.items())), name)


def own_names(dataset: Mapping[str, Any], *, name: str) -> dict[int, str]:
    """The name in dataset.json of each channel, background included.

    A value may stand in a list of its own (``"liver": [1]``). Of a model of regions, the channels
    are the regions in the order of dataset.json.

    Args:
        dataset: nnU-Net's dataset.json.
        name: The dataset, for errors.

    Raises:
        InputError: A value is not a whole number.
    """
    labels = {str(key): value for key, value in dataset["labels"].items() if key != "ignore"}
    if has_regions(dataset):
        regions = [label for label, value in labels.items() if value not in (0, [0])]
        return {0: BACKGROUND} | dict(enumerate(regions, start=1))
    return {label_value(single(value), name=name): label for label, value in labels.items()}


def single(value: Any) -> Any:
    """A label's value, also if it is the only one in a list."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def has_regions(dataset: Mapping[str, Any]) -> bool:
    """Whether nnU-Net trains a channel for each region: if any label has several values."""
    return any(
        isinstance(value, list | tuple) and len(value) > 1
        for value in dataset.get("labels", {}).values()
    )


def label_value(value: Any, *, name: str) -> int:
    """Read a label value, which JSON may also hold as text.

    Args:
        value: The value in dataset.json.
        name: The dataset, for the error.

    Raises:
        InputError: The value is not a whole number.
    """
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InputError(
            f"{name}: dataset.json has the label value {text[:40]!r}; "
            "expected a whole number from 0"
        )
    return int(text)


def _regions(labels: Mapping[str, Any], order: Any, name: str) -> dict[int, str]:
    """Label value → region, in the order of nnU-Net's channels, background first."""
    regions = [
        str(label) for label, value in labels.items() if label != "ignore" and value not in (0, [0])
    ]
    values = (
        [label_value(value, name=name) for value in order]
        if isinstance(order, list | tuple)
        else []
    )
    if (
        len(values) != len(regions)
        or len(set(values)) != len(values)
        or not all(1 <= value <= 254 for value in values)
    ):
        raise InputError(
            f"{name}: has {len(regions)} regions ({', '.join(regions)}) and regions_class_order "
            f"{order}; expected a different number from 1 to 254 for each"
        )
    return {0: BACKGROUND} | dict(zip(values, regions, strict=True))


def joint_table(classes: Sequence[str], *, values: Mapping[str, Any] | None, name: str) -> Taxonomy:
    """The label table of several models whose labels make one map.

    Args:
        classes: Class names of all models, in their order.
        values: Value of each class, under its own or the model's name for it; None: 1, 2, 3, ….
        name: Name of the table.

    Raises:
        InputError: A class has no value, a value is not from 1 to 254 or occurs twice, or a name
            is none of the classes.
    """
    if values is None:
        values = {label: value for value, label in enumerate(classes, start=1)}
    known: dict[str, int] = {}
    for given, value in values.items():
        cleaned = _clean(str(given))
        label = cleaned if cleaned in classes else (_known(cleaned, flare23()) or cleaned)
        if label not in classes or label in known:
            raise InputError(
                f"{name}: {str(given)[:60]!r} is {'there twice' if label in known else 'no class'}"
                f" of its parts{did_you_mean(label, classes)}"
            )
        known[label] = label_value(value, name=name)
    lacking = [label for label in classes if label not in known]
    numbers = set(known.values())
    if lacking or len(numbers) != len(known) or not all(1 <= n <= 254 for n in numbers):
        what = f"{lacking[0]} has none" if lacking else "one is out of bounds or occurs twice"
        raise InputError(
            f"{name}: the values of its labels are incomplete ({what}); "
            "expected a different number from 1 to 254 for each class of its parts"
        )
    ordered = dict(sorted((value, label) for label, value in known.items()))
    return _foreign({0: BACKGROUND} | ordered, name)[1]


def _foreign(channels: Mapping[int, str], name: str) -> tuple[tuple[str, ...], Taxonomy]:
    """Class names and label table from foreign names.

    The FLARE23 table itself is used only if every class also has its value there: a model's own
    values are never changed.

    Args:
        channels: Label value → foreign name, in the order of channels, background first.
        name: Name of the table.
    """
    table = flare23()
    values = list(channels)[1:]
    cleaned = [_clean(channels[value]) for value in values]
    known = [_known(label, table) for label in cleaned]
    matched = [label for label in known if label is not None]
    if len(set(matched)) == len(cleaned) and all(
        table[label].id == value for label, value in zip(matched, values, strict=True)
    ):
        return (BACKGROUND, *matched), table
    names: list[str] = []
    for channel, (label, match) in enumerate(zip(cleaned, known, strict=True), start=1):
        best = match or label
        names.append(best if best not in names else f"{best}_{channel}")
    rows = sorted(zip(values, names, strict=True))
    return (BACKGROUND, *names), Taxonomy(
        _clean(name), tuple(_row(id, label, names, table) for id, label in rows)
    )


def _row(id: int, label: str, names: list[str], table: Taxonomy) -> LabelClass:
    if label in table.names:
        row = table[label]
        return replace(row, id=id, partner=row.partner if row.partner in names else None)
    lesion = any(word in label for word in ("tumor", "tumour", "lesion", "cyst"))
    return LabelClass(id, label, kind="lesion" if lesion else "organ", color=spare_color(id))


def _known(label: str, table: Taxonomy) -> str | None:
    parts = label.split("_")
    turned = "_".join([parts[-1], *parts[:-1]])  # TotalSegmentator says kidney_right
    for candidate in (label, turned, _ALIASES.get(label, "")):
        if candidate in table.names:
            return candidate
    return None


def _clean(label: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
    return words if words and words[0].isalpha() else f"class_{words or 'unnamed'}"
