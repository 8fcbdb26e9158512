"""From a label map to a smooth, closed surface around each class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy

from nnstudent.errors import require
from nnstudent.inference.labels.run_length import Runs, connected, find_runs
from nnstudent.io.mesh import Surface
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import Float32Array, Float64Array, IndexArray, MaskArray
from nnstudent.volume import Volume

_LARGE_ML = 50.0  # pieces from this size on are reduced to voxels of about _FINE_MM
_FINE_MM = 1.6
_SMOOTH_MM = 1.5  # standard deviation of the smoothing, or half the largest distance of voxels
_LEAST_STEP = 0.05  # how far from one half a smoothed voxel stays, on the side of its label
_ROUNDS = 60  # of Taubin's smoothing
_SHRINK, _GROW = 0.5, -0.53  # its two steps; they pass what is longer than about ten edges
_VERTICES_A_ROUND = 10
_FITS = 4  # of the volume


def surfaces_of(labels: Volume, *, taxonomy: Taxonomy) -> tuple[Surface, ...]:
    """Return the surface of each class that is there, in the table's order.

    The surface runs between voxels of the class and voxels that are not of it: the mask is
    smoothed, but each voxel stays on its side. Marching cubes (Lewiner et al. 2003) find the
    surface, which Taubin's filter (1995) smooths further. It is then moved along its normals until
    each connected piece has the volume of its voxels. At the border of the image it is closed.

    Args:
        labels: The label map.
        taxonomy: Its label table; values that are none of it have no surface.

    Raises:
        MissingExtraError: scikit-image or trimesh is not installed.
    """
    require_surfaces()
    runs = find_runs(labels.array)
    piece = connected(runs)
    found = []
    for item in taxonomy:
        mine = np.flatnonzero(runs.label == item.id)
        if not len(mine):
            continue
        parts = [_piece(mask, first, labels) for mask, first in _masks(runs, piece, mine)]
        before = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
        vertices = np.concatenate([vertices for vertices, _ in parts])
        triangles = np.concatenate(
            [part + shift for (_, part), shift in zip(parts, before, strict=False)]
        )
        found.append(Surface(item.name, item.color, vertices, triangles))
    return tuple(found)


def require_surfaces() -> None:
    """Check that what makes surfaces is installed.

    Raises:
        MissingExtraError: It is not.
    """
    for library in ("skimage.measure", "trimesh"):
        require(library, extra="mesh", why="making surfaces")


def _masks(
    runs: Runs, piece: IndexArray, mine: IndexArray
) -> Iterator[tuple[MaskArray, IndexArray]]:
    """Yield the mask of each piece among some runs, and its first voxel, (z, y, x)."""
    order = mine[np.argsort(piece[mine], kind="stable")]
    for chosen in np.split(order, np.flatnonzero(np.diff(piece[order])) + 1):
        z, y, x = np.unravel_index(runs.start[chosen], runs.shape)
        length = (runs.stop - runs.start)[chosen]
        first = np.array([z.min(), y.min(), x.min()])
        shape = np.array([z.max(), y.max(), (x + length).max() - 1]) - first + 1
        mask = np.zeros(shape, bool)
        start = np.ravel_multi_index((z - first[0], y - first[1], x - first[2]), mask.shape)
        voxels = np.repeat(start - (np.cumsum(length) - length), length) + np.arange(length.sum())
        mask.reshape(-1)[voxels] = True
        yield mask, first


def _piece(mask: MaskArray, first: IndexArray, labels: Volume) -> tuple[Float64Array, IndexArray]:
    """Return the surface of one piece: vertices in LPS+ mm, triangles."""
    skimage: Any = require("skimage.measure", extra="mesh", why="making surfaces")
    spacing = np.array(labels.spacing_mm)
    voxel_ml = labels.grid.voxel_ml
    by = np.ones(3, int)
    if mask.sum() * voxel_ml >= _LARGE_ML:
        by = np.maximum(1, np.floor(_FINE_MM / spacing).astype(int))
    share = _reduced(mask, by)
    if not (share >= 0.5).any():  # a large piece of threads only
        by, share = np.ones(3, int), mask.astype(np.float32)
    sigma = max(_SMOOTH_MM, 0.5 * float((spacing * by).max())) / (spacing * by)
    margin = np.ceil(3 * sigma).astype(int) + 1
    share = np.pad(share, [(int(width),) * 2 for width in margin])
    soft = scipy.ndimage.gaussian_filter(share, sigma, truncate=3.0)
    # Where a voxel changed sides, its order among its like stays: equal values at the corners of a
    # cube leave open which of them are connected, and each of two neighboring cubes would decide.
    inside = share >= 0.5
    least = 0.5 + np.where(inside, _LEAST_STEP, -_LEAST_STEP) + 0.05 * (soft - 0.5)
    soft = np.where(inside, np.maximum(soft, least), np.minimum(soft, least))
    places, triangles, _, _ = skimage.marching_cubes(soft, 0.5)
    places = (places - margin) * by + (by - 1) / 2 + first
    affine = labels.grid.affine
    world = places[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
    vertices = _smoothed(world * [-1.0, -1.0, 1.0], triangles)
    volume_mm3 = float(mask.sum()) * voxel_ml * 1000
    return _fitted(vertices, triangles, volume_mm3=volume_mm3, most_mm=float(spacing.min()))


def _reduced(mask: MaskArray, by: IndexArray) -> Float32Array:
    """Return the share of a mask in blocks of so many voxels, (z, y, x)."""
    mask = np.pad(mask, [(0, -size % int(step)) for size, step in zip(mask.shape, by, strict=True)])
    z, y, x = (size // int(step) for size, step in zip(mask.shape, by, strict=True))
    blocks = mask.reshape(z, by[0], y, by[1], x, by[2])
    share: Float32Array = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
    return share


def _smoothed(vertices: Float64Array, triangles: IndexArray) -> Float64Array:
    """Return vertices smoothed by Taubin's filter, which keeps large forms and the volume.

    Small bodies get fewer rounds, which would make points of them.
    """
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    count = len(vertices)
    # A closed surface has each edge twice, once in each direction.
    neighbors = scipy.sparse.csr_array(
        (np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (count, count)
    )
    mean = scipy.sparse.diags_array(1 / neighbors.sum(axis=1)) @ neighbors
    _, body = scipy.sparse.csgraph.connected_components(neighbors, directed=False)
    rounds = np.minimum(_ROUNDS, np.bincount(body)[body] // _VERTICES_A_ROUND)
    for number in range(int(rounds.max())):
        active = (number < rounds)[:, None]
        for step in (_SHRINK, _GROW):
            vertices = vertices + step * active * (mean @ vertices - vertices)
    return vertices


def _fitted(
    vertices: Float64Array, triangles: IndexArray, *, volume_mm3: float, most_mm: float
) -> tuple[Float64Array, IndexArray]:
    """Give a surface its volume, with its triangles outward.

    It is moved along its normals by at most ``most_mm`` in all; what is still missing is scaled.
    """
    trimesh: Any = require("trimesh", extra="mesh", why="making surfaces")
    if _volume(vertices, triangles) < 0:  # the grid mirrors the patient
        triangles = triangles[:, ::-1]
    moved = 0.0
    for _ in range(_FITS):
        mesh = trimesh.Trimesh(vertices, triangles, process=False)
        missing = (volume_mm3 - _volume(vertices, triangles)) / mesh.area
        move = float(np.clip(moved + missing, -most_mm, most_mm)) - moved
        vertices = vertices + move * mesh.vertex_normals
        moved += move
    middle = vertices.mean(axis=0)
    scale = np.cbrt(volume_mm3 / _volume(vertices, triangles))
    return middle + scale * (vertices - middle), triangles


def _volume(vertices: Float64Array, triangles: IndexArray) -> float:
    """Return the volume that a closed surface encloses; negative if its triangles are inward."""
    one, two, three = (vertices - vertices.mean(axis=0))[triangles].transpose(1, 0, 2)
    return float(np.einsum("ij,ij->", one, np.cross(two, three))) / 6
