"""Which class of the label table each of a foreign network's channels is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nnstudent.bundle.spec import BACKGROUND
from nnstudent.errors import InputError
from nnstudent.taxonomy import LabelClass, Taxonomy, flare23, spare_color

# Names that public models and challenges use for classes of our table.
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
    """Class name by channel, and the label table they are of.

    Our own models carry both under ``nnstudent``. For others the table is made of ``labels``, with the values that are there, as
    stock nnU-Net writes them; a class that the FLARE23 table knows, under its own or a common other name, is called as there. Of
    regions, a class is what is labeled with the region's number in ``regions_class_order``: the region without those that come after it.

    Args:
        dataset: nnU-Net's dataset.json.
        name: What to call a table that is made.

    Raises:
        InputError: The labels are not 0, 1, 2, …, or contradict the table; of regions, two become the same label.
    """
    labels = dataset.get("labels")
    if not isinstance(labels, Mapping) or not labels:
        raise InputError(
            f"{name}: dataset.json has no labels; expected nnU-Net v2's {{name: number}}"
        )
    if has_regions(dataset):
        return _foreign(_regions(labels, dataset.get("regions_class_order"), name), name)
    channels: dict[int, str] = {}
    for label, value in labels.items():
        if label != "ignore":
            channels[
                label_value(
                    value[0] if isinstance(value, list | tuple) and value else value, name=name
                )
            ] = str(label)
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
                f"{name}: dataset.json names classes {sorted(names)} under nnstudent, but labels are {sorted(channels)[1:]}"
            )
        taxonomy.sorted(names.values())
        return (BACKGROUND, *(names[channel] for channel in sorted(names))), taxonomy
    return _foreign(dict(sorted(channels.items())), name)


def has_regions(dataset: Mapping[str, Any]) -> bool:
    """Whether nnU-Net trains a channel for each region, that is if any label is of several values."""
    return any(
        isinstance(value, list | tuple) and len(value) > 1
        for value in dataset.get("labels", {}).values()
    )


def label_value(value: Any, *, name: str) -> int:
    """A label value, which JSON may also hold as text.

    Args:
        value: As dataset.json has it.
        name: The dataset, for the error.

    Raises:
        InputError: It is no whole number.
    """
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InputError(
            f"{name}: dataset.json has the label value {text[:40]!r}; expected a whole number from 0"
        )
    return int(text)


def _regions(labels: Mapping[str, Any], order: Any, name: str) -> dict[int, str]:
    """Label value → region, by channel; nnU-Net's channels are the regions as they are listed, without background."""
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
            f"{name}: has {len(regions)} regions ({', '.join(regions)}) and regions_class_order {order}; expected another number "
            "from 1 to 254 for each"
        )
    return {0: BACKGROUND} | dict(zip(values, regions, strict=True))


def _foreign(channels: Mapping[int, str], name: str) -> tuple[tuple[str, ...], Taxonomy]:
    """Names and table from the maker's names by label value, in the order of channels, background first.

    The FLARE23 table stands for itself only where every class also has its value there: a model's own values are never changed.
    """
    table = flare23()
    values = list(channels)[1:]
    cleaned = [_clean(channels[value]) for value in values]
    known = [_known(label, table) for label in cleaned]
    found = [label for label in known if label is not None]
    if len(set(found)) == len(cleaned) and all(
        table[label].id == value for label, value in zip(found, values, strict=True)
    ):
        return (BACKGROUND, *found), table
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
