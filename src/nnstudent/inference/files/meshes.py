"""Writes the surfaces of a label map beside it."""

from __future__ import annotations

from pathlib import Path

from nnstudent.choices import MESHES
from nnstudent.errors import InputError
from nnstudent.inference.labels.surfaces import require_surfaces, surfaces_of
from nnstudent.io.mesh import write_glb, write_stl
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume


def check_mesh(kind: str | None) -> None:
    """Check before any work that surfaces can be written.

    Args:
        kind: One of :data:`~nnstudent.choices.MESHES`, or None for no surfaces.

    Raises:
        InputError: It is none of them.
        MissingExtraError: A package that makes surfaces is not installed.
    """
    if kind is None:
        return
    if kind not in MESHES:
        raise InputError(f"mesh {kind!r}; expected one of {', '.join(MESHES)}")
    require_surfaces()


def mesh_path(root: Path, name: str, kind: str) -> Path:
    """Return where the surfaces of a case go: a file for glb, a folder for stl.

    Args:
        root: The folder of the label map.
        name: The label map's name without its ending.
        kind: One of :data:`~nnstudent.choices.MESHES`.
    """
    return root / f"{name}.glb" if kind == "glb" else root / "meshes" / name


def write_mesh(path: Path, labels: Volume, *, taxonomy: Taxonomy, kind: str) -> list[Path]:
    """Write the surface of each class of a label map.

    Args:
        path: The file for glb; the folder for stl, which is replaced as a whole.
        labels: The label map.
        taxonomy: Its label table.
        kind: One of :data:`~nnstudent.choices.MESHES`.

    Returns:
        The files.

    Raises:
        InputError: The label map has no class of the table.
        MissingExtraError: A package that makes surfaces is not installed.
        OutputError: They cannot be written.
    """
    surfaces = surfaces_of(labels, taxonomy=taxonomy)
    if kind == "stl":
        return write_stl(path, surfaces)
    write_glb(path, surfaces)
    return [path]
