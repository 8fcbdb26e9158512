"""The surface of a mask: where it passes between the voxels, and its area there.

The surface is sampled at the corners of the voxels. Around each corner lie 2×2×2 voxels, inside or
outside the mask. If both kinds occur, a piece of surface (a *surfel*) passes through the cube that
the eight voxel centers span. Its area depends on which of the eight are inside (256 codes) and on
the spacing.

The pieces are those of marching cubes with vertices at the middle of the cube's cut edges. They
follow from the geometry:

* The rarer kind of the eight corners is cut off (the surface is the same for inside and outside),
  and each of its groups of corners that are connected by edges is cut off separately.
* Each group of one to four corners leaves a polygon through the middles of its outgoing edges. Up
  to symmetry there are six such polygons: a corner (a triangle), an edge (a rectangle), an L of
  three (a triangle and a trapezoid), a face (the square), a corner with its three neighbors (a
  hexagon), and a path of three edges along three axes. All but the last have only one decomposition
  into plane pieces. The last has 14 triangulations; the one used here, or its mirror image of the
  same area, cuts off one triangle at each end of the path's middle edge.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nnstudent.types import Float64Array, MaskArray
from nnstudent.volume import Spacing

Corner = tuple[int, int, int]
# The bit of a corner in a code is its index here: z counts 4, y 2, x 1.
_CORNERS: tuple[Corner, ...] = tuple((z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1))


def surface_codes(mask: MaskArray) -> npt.NDArray[np.uint8]:
    """Codes that say which of the eight voxels around each voxel corner are inside, one bit each.

    Args:
        mask: The mask, (z, y, x). Everything outside the array is outside the mask.

    Returns:
        Codes at the voxel corners, one more along each axis than voxels. 0 is outside and 255
        inside; all others are surface.
    """
    padded = np.zeros([n + 2 for n in mask.shape], np.uint8)
    padded[1:-1, 1:-1, 1:-1] = mask
    along_x: npt.NDArray[np.uint8] = padded[:, :, :-1] | (padded[:, :, 1:] << np.uint8(1))
    along_y: npt.NDArray[np.uint8] = along_x[:, :-1] | (along_x[:, 1:] << np.uint8(2))
    return along_y[:-1] | (along_y[1:] << np.uint8(4))


@lru_cache(maxsize=64)
def surfel_areas(spacing_mm: Spacing) -> Float64Array:
    """Area in mm² of the surface around a voxel corner, for each code of :func:`surface_codes`.

    Args:
        spacing_mm: Distance between voxel centers along (z, y, x), in mm.
    """
    z, y, x = spacing_mm
    # The components of an area vector are the areas projected along each axis.
    scale = np.array([y * x, z * x, z * y])
    areas = np.array(
        [np.linalg.norm(np.array(_cut(code)) * scale, axis=1).sum() for code in range(256)]
    )
    areas.flags.writeable = False  # shared between callers
    return areas


def _cut(code: int) -> list[tuple[float, float, float]]:
    """Area vectors, up to sign, of the plane pieces in a cube with edges of length 1."""
    inside = {corner for bit, corner in enumerate(_CORNERS) if code >> bit & 1}
    rarer = inside if len(inside) <= 4 else set(_CORNERS) - inside
    return [vector for group in _groups(rarer) for vector in _polygon(group)] or [(0.0, 0.0, 0.0)]


def _groups(corners: set[Corner]) -> list[set[Corner]]:
    groups: list[set[Corner]] = []
    for corner in corners:
        touching = [
            group for group in groups if any(_edge(corner, other) is not None for other in group)
        ]
        groups = [group for group in groups if group not in touching]
        groups.append({corner}.union(*touching))
    return groups


def _edge(one: Corner, other: Corner) -> int | None:
    """The axis of the edge between two corners; None if there is no edge."""
    differing = [axis for axis in range(3) if one[axis] != other[axis]]
    return differing[0] if len(differing) == 1 else None


def _polygon(group: set[Corner]) -> list[tuple[float, float, float]]:
    edges = [
        axis
        for one in group
        for other in group
        if one < other and (axis := _edge(one, other)) is not None
    ]
    normals = [axis for axis in range(3) if len({corner[axis] for corner in group}) == 1]
    if len(group) == 1:
        return [(1 / 8, 1 / 8, 1 / 8)]
    if len(group) == 2:  # a rectangle along the edge, oblique to the two other axes
        return [_vector(dict.fromkeys(normals, 1 / 2))]
    if len(group) == 3:  # half the mid square over the L, and the trapezoid down to its two ends
        return [_vector({normals[0]: 1 / 2}), (3 / 8, 3 / 8, 3 / 8)]
    if normals:  # a face: the whole mid square
        return [_vector({normals[0]: 1.0})]
    if any(
        sum(_edge(one, other) is not None for other in group) == 3 for one in group
    ):  # a corner and its three neighbors
        return [(3 / 4, 3 / 4, 3 / 4)]
    ends = [
        corner for corner in group if sum(_edge(corner, other) is not None for other in group) == 1
    ]
    outer = {_edge(end, other) for end in ends for other in group} - {None}
    middle = next(axis for axis in edges if axis not in outer)
    return [
        (1 / 2, 1 / 2, 1 / 2),
        *(_vector({middle: 1 / 4, axis: 1 / 4}) for axis in range(3) if axis != middle),
    ]


def _vector(components: dict[int, float]) -> tuple[float, float, float]:
    return components.get(0, 0.0), components.get(1, 0.0), components.get(2, 0.0)
