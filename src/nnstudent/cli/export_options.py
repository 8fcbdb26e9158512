"""Reading the options of ``export`` that hold more than a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from nnstudent.bundle.spec import HostRule


def shift(text: str | None) -> dict[str, float]:
    """Read the shifts of classes."""
    from nnstudent.errors import InputError

    shifts: dict[str, float] = {}
    for item in [] if text is None else text.split(","):
        name, _, value = item.partition("=")
        try:
            shifts[name.strip()] = float(value)
        except ValueError:
            raise InputError(
                f"--shift {text}; expected a class and a number each, such as liver=-1,spleen=-0.6"
            ) from None
    return shifts


def window(text: str | None) -> tuple[int, int, int] | None:
    """Read a window, three numbers of voxels."""
    from nnstudent.errors import InputError

    if text is None:
        return None
    sizes = text.split(",")
    if len(sizes) != 3 or not all(size.strip().isdigit() and int(size) for size in sizes):
        raise InputError(f"--window {text}; expected three numbers of voxels, such as 48,96,96")
    return int(sizes[0]), int(sizes[1]), int(sizes[2])


def grid(text: str | None, *, option: str) -> tuple[float, float, float] | None:
    """Read the spacing of a grid, three lengths in mm."""
    from nnstudent.errors import InputError

    if text is None:
        return None
    try:
        z, y, x = (float(mm) for mm in text.split(","))
    except ValueError:
        raise InputError(
            f"{option} {text}; expected three spacings in mm, such as 3,1.9,1.9"
        ) from None
    return z, y, x


def hosts(path: Path) -> dict[str, HostRule]:
    """Read the rules of the organs that a lesion stage searches."""
    from nnstudent.bundle.spec import HostRule
    from nnstudent.data_files import read_json_table
    from nnstudent.errors import InputError
    from nnstudent.serialization import from_plain

    table = read_json_table(path, what="the hosts of a lesion stage")
    if not table:
        raise InputError(
            f"{path}: expected a table of organs, such as "
            '{"liver": {"threshold": 0.5, "least_ml": 0.3}}'
        )
    return {
        str(name): from_plain(HostRule, rule, where=f"{path}: {name}")
        for name, rule in table.items()
    }
