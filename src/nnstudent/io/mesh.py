"""Writes surfaces as STL, one file for each, and as glTF binary (.glb), all in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.errors import InputError, require
from nnstudent.io.atomic import replacing, replacing_folder
from nnstudent.types import Float64Array, IndexArray

_PATIENT = "patient_lps_mm"
# glTF is in meters, and y is up, z to the front, x to the left of what looks along z.
_GLTF_OF_LPS_MM = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1000.0]]) / 1000
_SPACE = b"nnStudent. SPACE=LPS; UNIT=mm"  # 3D Slicer reads the first part of the comment


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed surface.

    Attributes:
        name: The class that it encloses.
        color: Its color, (red, green, blue) from 0 to 255.
        vertices: Points in LPS+ world coordinates, as in DICOM, in mm, (vertex, 3).
        triangles: Three vertices each, counterclockwise as seen from outside, (triangle, 3).
    """

    name: str
    color: tuple[int, int, int]
    vertices: Float64Array
    triangles: IndexArray


def write_stl(folder: Path, surfaces: Sequence[Surface]) -> list[Path]:
    """Write a binary STL for each surface, ``NAME.stl``, in mm and LPS+ coordinates.

    STL has neither units nor axes. The comment at its start says ``SPACE=LPS``, which 3D Slicer
    reads.

    Args:
        folder: The folder, which is replaced as a whole.
        surfaces: The surfaces.

    Returns:
        The files.

    Raises:
        InputError: There is no surface.
        MissingExtraError: trimesh is not installed.
        OutputError: They cannot be written.
    """
    _require_any(folder, surfaces)
    with replacing_folder(folder) as place:
        for surface in surfaces:
            data = _mesh(surface).export(file_type="stl")
            (place / f"{surface.name}.stl").write_bytes(_SPACE.ljust(80) + data[80:])
    return [folder / f"{surface.name}.stl" for surface in surfaces]


def write_glb(path: Path, surfaces: Sequence[Surface]) -> None:
    """Write all surfaces into one glTF binary, each a node with its name and color.

    The file is in meters with y up, as the format wants. The nodes lie in one node,
    ``patient_lps_mm``, whose coordinates are LPS+ in mm.

    Args:
        path: The file.
        surfaces: The surfaces.

    Raises:
        InputError: There is no surface.
        MissingExtraError: trimesh is not installed.
        OutputError: ``path`` cannot be written.
    """
    _require_any(path, surfaces)
    trimesh: Any = require("trimesh", extra="mesh", why="writing surfaces")
    scene = trimesh.Scene()
    scene.graph.update(frame_to=_PATIENT, matrix=_GLTF_OF_LPS_MM)
    for surface in surfaces:
        mesh = _mesh(surface)
        material = trimesh.visual.material.PBRMaterial(
            name=surface.name, metallicFactor=0.0, roughnessFactor=0.6
        )
        mesh.visual = trimesh.visual.TextureVisuals(material=material)
        scene.add_geometry(
            mesh, node_name=surface.name, geom_name=surface.name, parent_node_name=_PATIENT
        )
    colors = {surface.name: surface.color for surface in surfaces}
    data = scene.export(
        file_type="glb",
        include_normals=True,
        tree_postprocessor=lambda tree: _color(tree, colors),
    )
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _color(tree: dict[str, Any], colors: Mapping[str, tuple[int, int, int]]) -> None:
    """Give each material its color, which is linear in glTF; trimesh would round it to bytes."""
    for material in tree["materials"]:
        share = np.array(colors[material["name"]]) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        material["pbrMetallicRoughness"]["baseColorFactor"] = [*linear.tolist(), 1.0]


def _mesh(surface: Surface) -> Any:
    trimesh: Any = require("trimesh", extra="mesh", why="writing surfaces")
    return trimesh.Trimesh(surface.vertices, surface.triangles, process=False)


def _require_any(path: Path, surfaces: Sequence[Surface]) -> None:
    if not surfaces:
        raise InputError(f"{path}: not written: no class was found, so that there is no surface")
