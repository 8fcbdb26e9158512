"""What the values of other tools' label maps mean, and which classes of a label table they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from nnstudent.bundle.labels import label_value, single
from nnstudent.data_files import parse_toml, read_json_table, read_toml
from nnstudent.errors import InputError
from nnstudent.taxonomy import Taxonomy, find_classes
from nnstudent.words import did_you_mean

_WHAT = "a class map"
_KEYS = ("title", "source", "classes", "flare23")


@dataclass(frozen=True)
class ClassMap:
    """The classes of a tool's label maps.

    Attributes:
        name: Its name, such as ``totalsegmentator``.
        title: The tool, its version and task.
        source: Where the tool or dataset is described; empty for a map that a user gave.
        classes: Value in a label map → the maker's name of the class.
        targets: The maker's name → classes of our table; one, or the right and the left one of a
            pair, which are then told apart by position. A class that is missing here is none of
            ours and becomes background.
    """

    name: str
    title: str
    source: str
    classes: Mapping[int, str]
    targets: Mapping[str, tuple[str, ...]]

    def values(self, named: Mapping[str, int], *, where: str) -> dict[int, tuple[str, ...]]:
        """Return value → classes.

        Args:
            named: Name → value as a dataset.json beside the label maps has them; empty if there is
                none. If it has any name of this map, its values count.
            where: The label maps, for the error.

        Raises:
            InputError: A name has no value.
        """
        own = {name: named[name] for name in self.targets if name in named}
        values = {name: value for value, name in self.classes.items() if name in self.targets}
        if own and self.source:
            values = {}  # that tool numbered them differently there
        values |= own
        missing = [name for name in self.targets if name not in values]
        if missing and not self.source:
            known = (
                f"its dataset.json has {', '.join(named)}" if named else "it has no dataset.json"
            )
            raise InputError(
                f"{where} has no {missing[0]!r}; expected a value from 1 to 255 or a name ({known})"
            )
        return {value: self.targets[name] for name, value in values.items()}


def as_map(given: ClassMap | Mapping[str, str], *, taxonomy: Taxonomy) -> ClassMap:
    """Return a class map, also for pairs of a value or name and its class.

    Raises:
        InputError: A class is not in the table.
    """
    if isinstance(given, ClassMap):
        return given
    return _from_pairs([(foreign, name) for foreign, name in given.items()], taxonomy)


def map_names() -> tuple[str, ...]:
    """Return the names of the maps that come with the package, sorted."""
    names = (item.name for item in files("nnstudent.labels").joinpath("maps").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def map_text(name: str) -> str:
    """Return the TOML text of a map that comes with the package.

    Raises:
        InputError: There is none of this name.
    """
    if name not in map_names():
        hint = did_you_mean(name, map_names()) or f"; known are {', '.join(map_names())}"
        raise InputError(f"{name}: no such class map{hint}")
    return files("nnstudent.labels").joinpath(f"maps/{name}.toml").read_text("utf-8")


def find_map(text: str, *, taxonomy: Taxonomy) -> ClassMap:
    """Return the class map that a user asks for.

    Args:
        text: One of :func:`map_names`, a TOML file, or ``VALUE=CLASS,…``. The values of the last
            may be numbers or the names in a dataset.json; several may become one class, and
            ``VALUE=right_kidney+left_kidney`` tells the two apart by position.
        taxonomy: The label table of the classes.

    Raises:
        InputError: It is none of these, or a class is not in the table.
    """
    if "=" in text:
        return _from_pairs(_pairs(text), taxonomy)
    if text in map_names():
        table = parse_toml(map_text(text), where=f"{text}.toml", what=_WHAT)
        return _from_table(text, table, taxonomy=taxonomy, where=text)
    path = Path(text)
    if path.suffix == ".toml" or path.is_file():
        table = read_toml(path, what=_WHAT)
        return _from_table(path.stem, table, taxonomy=taxonomy, where=str(path))
    hint = did_you_mean(text, map_names()) or f"; known are {', '.join(map_names())}"
    raise InputError(f"{text}: no such class map{hint}; or give a TOML file, or VALUE=CLASS,…")


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = []
    for part in (part.strip() for part in text.split(",")):
        value, _, name = (piece.strip() for piece in part.partition("="))
        if not value or not name:
            raise InputError(
                f"{text}: {part!r} is not VALUE=CLASS; expected pairs such as 1=liver,2=spleen"
            )
        pairs.append((value, name))
    return pairs


def _from_pairs(pairs: list[tuple[str, str]], taxonomy: Taxonomy) -> ClassMap:
    classes: dict[int, str] = {}
    targets: dict[str, tuple[str, ...]] = {}
    for value, name in pairs:
        if value in targets:
            raise InputError(f"{value}={name}: {value} is mapped twice; give it once")
        targets[value] = _targets(name.split("+"), taxonomy, where=f"{value}={name}")
        if value.isdecimal() and 1 <= int(value[:9]) <= 255:
            classes[int(value)] = value
    return ClassMap("given", "", "", classes, targets)


def _from_table(name: str, table: Mapping[str, Any], *, taxonomy: Taxonomy, where: str) -> ClassMap:
    unknown = [key for key in table if key not in _KEYS]
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(_KEYS)}")
    rows, chosen = table.get("classes", {}), table.get("flare23", {})
    if not isinstance(rows, Mapping) or not isinstance(chosen, Mapping) or not rows or not chosen:
        raise InputError(
            f"{where}: a class map needs a table [classes] of VALUE = name and a table [flare23] "
            "of name = class"
        )
    classes: dict[int, str] = {}
    for value, title in rows.items():
        if not value.isdecimal() or not 1 <= int(value[:9]) <= 255 or not isinstance(title, str):
            raise InputError(f"{where}: {value} = {title!r}; expected a value from 1 to 255 = name")
        classes[int(value)] = title
    targets: dict[str, tuple[str, ...]] = {}
    for title, given in chosen.items():
        if title not in classes.values():
            raise InputError(f"{where}: [flare23] has {title!r}, which [classes] does not have")
        found = [given] if isinstance(given, str) else given
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise InputError(f"{where}: {title} = {given!r}; expected a class or two of a pair")
        targets[title] = _targets(found, taxonomy, where=f"{where}: {title}")
    return ClassMap(
        name, str(table.get("title", name)), str(table.get("source", "")), classes, targets
    )


def _targets(given: list[str], taxonomy: Taxonomy, *, where: str) -> tuple[str, ...]:
    given = [find_classes([item], taxonomy.names, where=where)[0] for item in given]
    if len(given) == 1:
        return (given[0],)
    if len(given) == 2:
        sides = {taxonomy[item].side: item for item in given}
        if {"right", "left"} <= sides.keys() and taxonomy[given[0]].partner == given[1]:
            return sides["right"], sides["left"]
    raise InputError(
        f"{where}: {' and '.join(given)} are not the right and left of one pair; give one class"
    )


def declared_names(folder: Path) -> dict[str, int]:
    """Return name → value as a folder's ``dataset.json`` has them; empty if there is none.

    Raises:
        InputError: See :func:`label_names`; or the file cannot be read.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        return {}
    return label_names(read_json_table(path, what="an nnU-Net dataset"), where=folder)


def label_names(dataset: Mapping[str, Any], *, where: Path) -> dict[str, int]:
    """Return name → value of the labels in an nnU-Net ``dataset.json``.

    Background and the ignore label are left out.

    Raises:
        InputError: There is no table of labels, or a label is a region of several values.
    """
    labels = dataset.get("labels")
    if not isinstance(labels, Mapping):
        raise InputError(
            f"{where}: dataset.json has no labels; expected name = value for each class"
        )
    labels = {name: single(value) for name, value in labels.items()}
    regions = [name for name, value in labels.items() if not isinstance(value, int | str)]
    if regions:
        raise InputError(
            f"{where}: {regions[0]!r} is a region of several labels; "
            "only models whose labels exclude each other can be used"
        )
    values = {name: label_value(value, name=str(where)) for name, value in labels.items()}
    return {name: value for name, value in values.items() if value > 0 and name != "ignore"}
