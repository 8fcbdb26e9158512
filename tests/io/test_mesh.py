"""Surfaces as STL and glTF, read back by trimesh and byte by byte."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.mesh import Surface, write_glb, write_stl

trimesh = pytest.importorskip("trimesh", reason="the extra [mesh] is not installed")


def ball(name: str, *, at: tuple[float, float, float], radius: float, color=(255, 128, 0)):
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    return Surface(name, color, np.asarray(sphere.vertices) + at, np.asarray(sphere.faces))


# The liver lies to the right, the spleen to the left and further to the back; LPS, mm.
LIVER = ball("liver", at=(-80.0, -20.0, 300.0), radius=40)
SPLEEN = ball("spleen", at=(90.0, 30.0, 330.0), radius=20, color=(0, 0, 10))


def test_an_stl_has_millimetres_in_lps_and_says_so(tmp_path):
    liver, spleen = write_stl(tmp_path / "meshes" / "a", [LIVER, SPLEEN])
    assert (liver.name, spleen.name) == ("liver.stl", "spleen.stl")
    assert b"SPACE=LPS" in liver.read_bytes()[:80]
    assert not liver.read_bytes().startswith(b"solid")  # readers would take it for text
    mesh = trimesh.load(liver)
    assert mesh.is_watertight
    assert np.allclose(mesh.bounds, [[-120, -60, 260], [-40, 20, 340]], atol=0.5)
    assert mesh.volume == pytest.approx(trimesh.Trimesh(*parts(LIVER)).volume, rel=1e-4)


def parts(surface: Surface):
    return surface.vertices, surface.triangles


def test_a_second_writing_leaves_nothing_of_the_first(tmp_path):
    write_stl(tmp_path / "a", [LIVER, SPLEEN])
    write_stl(tmp_path / "a", [SPLEEN])
    assert [path.name for path in tmp_path.rglob("*.stl")] == ["spleen.stl"]


def test_a_glb_has_named_and_colored_nodes_in_metres_with_y_up(tmp_path):
    path = tmp_path / "a.glb"
    write_glb(path, [LIVER, SPLEEN])
    scene = trimesh.load(path)
    assert set(scene.geometry) == {"liver", "spleen"}
    where = {}
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        mesh = scene.geometry[name].copy()
        assert node == name
        mesh.apply_transform(matrix)
        assert mesh.is_watertight
        assert mesh.volume > 0  # outward also after the turn
        where[name] = mesh.bounds.mean(axis=0)
    # x to the patient's left, y up, z to the front, in metres
    assert np.allclose(where["liver"], [-0.080, 0.300, 0.020], atol=1e-4)
    assert np.allclose(where["spleen"], [0.090, 0.330, -0.030], atol=1e-4)
    tree = tree_of(path)
    names = [tree["meshes"][node["mesh"]]["name"] for node in tree["nodes"] if "mesh" in node]
    assert sorted(names) == ["liver", "spleen"]
    assert all("NORMAL" in mesh["primitives"][0]["attributes"] for mesh in tree["meshes"])
    colors = {
        item["name"]: item["pbrMetallicRoughness"]["baseColorFactor"] for item in tree["materials"]
    }
    # sRGB 128 is 0.2159 in linear light, and 10 is 0.00304.
    assert colors["liver"] == pytest.approx([1.0, 0.21586, 0.0, 1.0], abs=1e-5)
    assert colors["spleen"] == pytest.approx([0.0, 0.0, 0.0030353, 1.0], abs=1e-6)


def tree_of(path):
    data = path.read_bytes()
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack("<I4s", data[12:20])
    assert kind == b"JSON"
    return json.loads(data[20 : 20 + size])


def test_without_a_surface_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="no class was found"):
        write_glb(tmp_path / "a.glb", [])
    with pytest.raises(InputError, match="no class was found"):
        write_stl(tmp_path / "a", [])
    assert list(tmp_path.iterdir()) == []
