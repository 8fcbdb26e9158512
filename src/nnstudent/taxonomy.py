"""The label table: the one place for the ids, names, tolerances, colors and anatomy of classes."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from nnstudent.data_files import parse_toml, read_toml
from nnstudent.errors import InputError
from nnstudent.words import match_class, suggest_classes

Kind = Literal["organ", "lesion"]
Side = Literal["left", "right", "middle"]
IGNORE = 255  # Marks voxels of unknown class in label maps; no class has this id.
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_KINDS = ("organ", "lesion")
_SIDES = ("left", "right", "middle", None)


@dataclass(frozen=True)
class LabelClass:
    """One row of the label table.

    Attributes:
        id: Value in a label map, 1 to 254 (0 is background).
        name: Lower case, words joined by ``_``.
        kind: ``organ``, or ``lesion`` for classes laid over organs.
        nsd_mm: Tolerance of the normalized surface distance, in mm.
        color: Red, green, blue, 0 to 255.
        snomed: SNOMED CT code, or None.
        partner: Name of the same organ on the other side, or None.
        minimum_ml: Volume below which it is only a fragment, in ml.
        components: The largest number of connected pieces; 0 for any number.
        side: The side of the body that it lies on in everybody; ``middle`` if it marks the middle;
            None if neither.
        reach_mm: The largest distance of a lesion from the nearest organ, in mm; 0 for anywhere.
    """

    id: int
    name: str
    kind: Kind = "organ"
    nsd_mm: float = 2.0
    color: tuple[int, int, int] = (200, 200, 200)
    snomed: str | None = None
    partner: str | None = None
    minimum_ml: float = 0.0
    components: int = 0
    side: Side | None = None
    reach_mm: float = 0.0


@dataclass(frozen=True)
class Taxonomy:
    """A label table, valid once constructed.

    Raises:
        InputError: An id or name occurs twice, is malformed, or a partner is not in the table.
    """

    name: str
    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        if not self.classes:
            raise InputError(
                f"label table {self.name}: holds no class; "
                "give at least one [[class]] with id and name"
            )
        for item in self.classes:
            if not 1 <= item.id <= 254:
                raise InputError(
                    f"label table {self.name}: class {item.name} has id {item.id}; ids are 1 to 254"
                )
            if not _NAME.fullmatch(item.name):
                raise InputError(
                    f"label table {self.name}: {item.name!r} is not a class name; "
                    "use lower case, digits and _"
                )
            if item.kind not in _KINDS:
                raise InputError(
                    f"label table {self.name}: class {item.name} is of kind {item.kind!r}; "
                    f"expected one of {', '.join(_KINDS)}"
                )
            if item.partner is not None and item.partner not in self.names:
                raise InputError(
                    f"label table {self.name}: {item.name} has partner {item.partner!r}, "
                    "which is not in the table"
                )
            if item.side not in _SIDES:
                raise InputError(
                    f"label table {self.name}: {item.name} has side {item.side!r}; "
                    "expected left, right or middle"
                )
            figures = {
                "nsd_mm": item.nsd_mm,
                "minimum_ml": item.minimum_ml,
                "components": item.components,
                "reach_mm": item.reach_mm,
            }
            for key, value in figures.items():
                if not 0 <= value < float("inf"):
                    raise InputError(
                        f"label table {self.name}: {item.name} has {key} = {value}; "
                        "expected a finite number of at least 0"
                    )
        for field, values in (("id", self.ids), ("name", self.names)):
            if len(set(values)) != len(values):
                raise InputError(
                    f"label table {self.name}: a class {field} occurs twice in {list(values)}"
                )
        for item in self.classes:
            if item.partner is not None and self[item.partner].partner != item.name:
                raise InputError(
                    f"label table {self.name}: {item.name} has partner {item.partner}, "
                    "which must name it back"
                )

    def __iter__(self) -> Iterator[LabelClass]:
        return iter(self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, name: str) -> LabelClass:
        if (item := self._by_name.get(name)) is not None:
            return item
        hint = suggest_classes(name, self.names)
        raise InputError(
            f"no class {name!r} in label table "
            f"{self.name}{hint or f'; it has {_listed(self.names)}'}"
        )

    @cached_property
    def _by_name(self) -> dict[str, LabelClass]:
        return {item.name: item for item in self.classes}

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """The ids, in the table's order."""
        return tuple(item.id for item in self.classes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names, in the table's order."""
        return tuple(item.name for item in self.classes)

    @cached_property
    def organs(self) -> tuple[str, ...]:
        """Names of the organs. A case in which all of them are annotated is fully annotated."""
        return tuple(item.name for item in self.classes if item.kind == "organ")

    @cached_property
    def lesions(self) -> tuple[str, ...]:
        """Names of the lesion classes."""
        return tuple(item.name for item in self.classes if item.kind == "lesion")

    def by_id(self, id: int) -> LabelClass:
        """Return the class with this id.

        Raises:
            InputError: No class has it.
        """
        for item in self.classes:
            if item.id == id:
                return item
        raise InputError(
            f"no class with id {id} in label table {self.name}; "
            f"it has {', '.join(map(str, self.ids))}"
        )

    def sorted(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return these classes in the table's order, however their names are written.

        Raises:
            InputError: A name is that of no class.
        """
        wanted = {
            name if name in self._by_name else self[match_class(name, self.names) or name].name
            for name in names
        }
        return tuple(name for name in self.names if name in wanted)

    def only(self, names: Iterable[str]) -> Taxonomy:
        """Return the table of some of its classes, with their ids.

        A class whose partner is left out has none.

        Raises:
            InputError: A name is that of no class, or there is none.
        """
        kept = self.sorted(names)
        rows = (self[name] for name in kept)
        return Taxonomy(
            self.name,
            tuple(row if row.partner in kept else replace(row, partner=None) for row in rows),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the table as plain data that :meth:`from_dict` reads."""
        rows = [{**row, "color": list(row["color"])} for row in self._rows]
        return {"name": self.name, "class": rows}

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return [asdict(item) for item in self.classes]

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Taxonomy:
        """Read a table from plain data: ``name`` and a list ``class``.

        Raises:
            InputError: A key is missing, unknown or of the wrong type.
        """
        title = table.get("name", "unnamed")
        rows = table.get("class", ())
        if (
            not isinstance(title, str)
            or not isinstance(rows, list | tuple)
            or not all(isinstance(row, Mapping) for row in rows)
        ):
            raise InputError(
                "a label table is a name and a list of [[class]] tables, each with id and name"
            )
        return cls(title, tuple(_row(title, row) for row in rows))


def find_classes(
    words: Iterable[str], known: Sequence[str], *, where: str, groups: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the classes that a person names, however the names are written.

    Args:
        words: Class names such as ``liver``, ``Left kidney`` or ``LEFT-KIDNEY``.
        known: The classes to choose from.
        where: Where the words stand, for the error message.
        groups: Further words that are right there, for the error message.

    Raises:
        InputError: A word names none of them.
    """
    found = []
    for word in words:
        name = match_class(word, known)
        if name is None:
            hint = suggest_classes(word, [*known, *groups])
            hint = hint or f"; expected some of {_listed([*groups, *known])}"
            raise InputError(f"{where}: no class {word!r}{hint}")
        found.append(name)
    return tuple(dict.fromkeys(found))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def spare_color(number: int) -> tuple[int, int, int]:
    """Return a color for a class that no table knows; those of following numbers are far apart.

    Args:
        number: The class's number, from 0.
    """
    hue, saturation, value = (
        number * 0.618 % 1.0,
        (0.55, 0.85)[number % 2],
        (0.95, 0.7)[number // 2 % 2],
    )
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _row(title: str, row: Mapping[str, Any]) -> LabelClass:
    types: dict[str, type | tuple[type, ...]] = {
        "id": int,
        "name": str,
        "kind": str,
        "nsd_mm": (int, float),
        "color": (list, tuple),
        "snomed": (str, type(None)),
        "partner": (str, type(None)),
        "minimum_ml": (int, float),
        "components": int,
        "side": (str, type(None)),
        "reach_mm": (int, float),
    }
    for key, value in row.items():
        if key not in types:
            raise InputError(
                f"label table {title}: unknown key {key!r} in a [[class]]; "
                f"known are {', '.join(types)}"
            )
        if not isinstance(value, types[key]) or isinstance(value, bool):
            raise InputError(f"label table {title}: {key} = {value!r} is of the wrong type")
    if "id" not in row or "name" not in row:
        raise InputError(f"label table {title}: a [[class]] needs id and name, got {dict(row)}")
    values = {"color": spare_color(row["id"])} | dict(row)
    if "color" in row:
        color = tuple(values["color"])
        if len(color) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in color):
            raise InputError(
                f"label table {title}: color = {values['color']!r}; "
                "expected three numbers from 0 to 255"
            )
        values["color"] = color
    return LabelClass(**values)


def read_taxonomy(path: Path) -> Taxonomy:
    """Read a label table from a TOML file.

    Raises:
        InputError: The file is missing, not TOML, or not a valid table.
    """
    table = read_toml(path, what="a label table")
    try:
        return Taxonomy.from_dict({"name": path.stem} | table)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def find_taxonomy(name: str | Path) -> Taxonomy:
    """Return the label table that a user asks for.

    Args:
        name: ``flare23``, or a TOML file.

    Raises:
        InputError: It is neither.
    """
    if str(name) == "flare23":
        return flare23()
    return read_taxonomy(Path(name))


@cache
def flare23() -> Taxonomy:
    """Return the label table of FLARE23: 13 organs and tumor."""
    text = files("nnstudent").joinpath("taxonomies/flare23.toml").read_text("utf-8")
    return Taxonomy.from_dict(parse_toml(text, where="flare23.toml", what="a label table"))
