"""Presets: named sets of recipes and stage settings, in TOML.

Reading one imports neither torch nor nnunetv2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnstudent.choices import PRECISIONS, WINDOWS
from nnstudent.data_files import MAX_TOML_BYTES, parse_toml, read_text
from nnstudent.errors import InputError
from nnstudent.pipeline.presets import preset_names, read_preset
from nnstudent.pipeline.resources import Resources
from nnstudent.pseudo.ensemble import DecisionRule
from nnstudent.pseudo.selection import SelectSettings
from nnstudent.serialization import from_plain, to_plain
from nnstudent.taxonomy import Taxonomy
from nnstudent.training.recipe import Recipe, Teaching


@dataclass(frozen=True)
class Preset:
    """A named set of recipes and stage settings.

    Attributes:
        name: Its name.
        teachers: The organ teachers, and the tumor teacher if ``tumor`` is None.
        student: The student.
        tumor: The tumor model, or None.
        second: The second stage of the student's cascade, for ``second_classes`` on a finer grid;
            None for no cascade.
        second_classes: The classes of the second stage.
        folds: Number of organ teachers, at most as many as there are cases.
        tumor_folds: Number of tumor models.
        tumor_organs: Whether the tumor model also learns the organs that are annotated in all its
            cases; only its lesions are used.
        one_student: Whether the student learns organs and tumors together; otherwise it learns
            organs only, and the tumor model is laid over it.
        decision: How a voxel of a pseudo-label gets its class
            (:class:`~nnstudent.pseudo.settings.TeacherOptions`).
        label_precision: The precision in which teachers label: ``fp32``, ``auto``, ``bf16`` or
            ``int8`` (:class:`~nnstudent.pseudo.settings.TeacherOptions`).
        select: Which pseudo-labels are kept.
        windows: How a run places the windows in which networks segment the test cases: ``guided``,
            ``dense`` or ``flare22`` (:func:`~nnstudent.inference.windows.planners.make_planner`).
        int8: Whether a run's bundle also holds the student in int8, which is at least twice as
            fast if the processor has it. Left out with a notice if it costs DSC or if the extra
            ``int8`` is not installed.
        cluster: What jobs on a cluster ask for.
    """

    name: str
    teachers: Recipe
    student: Recipe
    tumor: Recipe | None = None
    second: Recipe | None = None
    second_classes: tuple[str, ...] = ()
    folds: int = 5
    tumor_folds: int = 1
    tumor_organs: bool = False
    one_student: bool = True
    decision: DecisionRule = "dice"
    label_precision: str = "fp32"
    select: SelectSettings = field(default_factory=SelectSettings)
    windows: str = "guided"
    int8: bool = False
    cluster: Resources = field(default_factory=Resources)

    def __post_init__(self) -> None:
        if self.folds < 1 or self.tumor_folds < 1:
            raise InputError(
                f"preset {self.name}: folds = {self.folds}, tumor_folds = {self.tumor_folds}; "
                "expected at least 1"
            )
        for key, allowed in (("windows", WINDOWS), ("label_precision", PRECISIONS)):
            if (value := getattr(self, key)) not in allowed:
                raise InputError(
                    f"preset {self.name}: {key} = {value!r}; expected one of {', '.join(allowed)}"
                )
        if (self.second is None) == bool(self.second_classes):
            missing = "the recipe [second]" if self.second is None else "second_classes"
            raise InputError(
                f"preset {self.name}: the second stage of a cascade lacks {missing}; "
                "give both or neither"
            )
        for role, recipe in (("student", self.student), ("second", self.second)):
            if (
                recipe is not None
                and self.select.leave_open
                and recipe.training.partial != "marginal"
            ):
                raise InputError(
                    f"preset {self.name}: select.leave_open = true, but the recipe [{role}] has "
                    f'partial = "{recipe.training.partial}", which takes an open class for absent; '
                    f'set {role}.training.partial = "marginal"'
                )

    @property
    def teaching(self) -> Teaching:
        """The teachers that ``teach`` trains, and how."""
        return Teaching(self.teachers, self.tumor, self.folds, self.tumor_folds, self.tumor_organs)

    def student_classes(self, taxonomy: Taxonomy) -> tuple[str, ...] | None:
        """Return the classes that the student learns; None for all.

        They are the organs if another model is for tumors.
        """
        return None if self.one_student else taxonomy.organs

    def to_dict(self) -> dict[str, Any]:
        """Return the preset as plain data."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def load_preset(name_or_path: str | Path) -> Preset:
    """Read a preset that comes with the package, by name, or any TOML file, by path.

    A file may begin with ``like = "laptop"``, or the name of a file beside it: it is then that
    preset, with what is given changed. In the same way, a recipe in it may begin with
    ``like = "student"``.

    Raises:
        InputError: There is no such preset, or the file is unreadable or has an unknown key or a
            wrong value.
    """
    table, where = _whole(str(name_or_path), ())
    return _preset({"name": where.removesuffix(".toml")} | table, where)


def _whole(name: str, seen: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """Return a preset's table with what it is ``like`` filled in, and its name for errors."""
    table, where = _read(name)
    if "like" not in table:
        return table, where
    base = str(table.pop("like"))
    beside = str(Path(name).with_name(Path(base).name))
    if base not in preset_names() and (
        not Path(beside).is_file() or Path(base).name != base or beside in (*seen, name)
    ):
        raise InputError(
            f"preset {where}: like = {base!r}; expected one of {', '.join(preset_names())}, "
            "or another file beside it"
        )
    known, _ = _whole(base if base in preset_names() else beside, (*seen, name))
    return _merged(known, table), where


def _read(name: str) -> tuple[dict[str, Any], str]:
    if name in preset_names():
        text, where = read_preset(name), name
    else:
        path = Path(name)
        if not path.is_file():
            raise InputError(
                f"no preset {name!r}; choose one of {', '.join(preset_names())}, or give the path "
                "of a TOML file"
            )
        text, where = read_text(path, what="a preset", most=MAX_TOML_BYTES), path.name
    return parse_toml(text, where=f"preset {where}", what="a preset"), where


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the values of ``own``, table by table."""
    merged = dict(base)
    for key, value in own.items():
        known = base.get(key)
        merged[key] = (
            _merged(known, value)
            if isinstance(value, Mapping) and isinstance(known, Mapping)
            else value
        )
    return merged


def _preset(table: Mapping[str, Any], where: str) -> Preset:
    values = dict(table)
    for role in ("student", "teachers", "tumor", "second"):
        if role in values:
            recipe = _resolve(table, role, where=where)
            values[role] = Recipe.from_dict(recipe, where=f"preset {where}: {role}")
    preset: Preset = from_plain(Preset, values, where=f"preset {where}")
    return preset


def _resolve(
    table: Mapping[str, Any], role: str, *, where: str, seen: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return a recipe's table with what it is ``like`` filled in."""
    recipe = table.get(role)
    if not isinstance(recipe, Mapping) or role in seen:
        raise InputError(
            f"preset {where}: {role!r} is no recipe that another can be like; "
            f"expected a table [{role}]"
        )
    own = {key: value for key, value in recipe.items() if key != "like"}
    if "like" not in recipe:
        return own
    base = _resolve(table, str(recipe["like"]), where=where, seen=(*seen, role))
    return _merged(base, own)
