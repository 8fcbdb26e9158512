"""Where a mask's surface passes between its voxels, and how large it is there.

The surface is sampled at the corners of the voxels: around each corner lie 2×2×2 voxels, inside the mask or outside. Where both
kinds meet, a piece of surface (a *surfel*) passes through the cube that those eight voxel centres span, and its area depends on
which of the eight are inside (256 codes) and on the spacing.

The pieces are those of marching cubes with vertices at the middle of the cube's cut edges. They follow from the geometry:

* The rarer kind of the eight is cut off (inside or outside, the surface is the same), and each of its groups of
  corners joined by edges is cut off on its own.
* Each group of one to four corners leaves a polygon through the middles of the edges that leave it. Up to symmetry there are six
  such polygons; all but the last consist of plane pieces in only one way:
  a corner (a triangle), an edge (a rectangle), an L of three (a triangle and a trapezoid), a face (the square), a corner with its
  three neighbors (a hexagon), and a path of three edges along three axes. The last is not plane and has 14 triangulations; taken is
  the one (and its mirror image, of the same area) that cuts one triangle off at each end of the path's middle edge.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nnstudent.volume import Spacing

Corner = tuple[int, int, int]
# The bit of a corner in a code is its place here: z counts 4, y 2, x 1.
_CORNERS: tuple[Corner, ...] = tuple((z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1))


def surface_codes(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Which of the eight voxels around each voxel corner are inside, a bit each; outside of the array nothing is.

    Args:
        mask: The mask, (z, y, x).

    Returns:
        Codes at the voxel corners, one more along each axis than voxels; 0 is outside and 255 inside, all others are surface.
    """
    padded = np.zeros([n + 2 for n in mask.shape], np.uint8)
    padded[1:-1, 1:-1, 1:-1] = mask
    along_x: npt.NDArray[np.uint8] = padded[:, :, :-1] | (padded[:, :, 1:] << np.uint8(1))
    along_y: npt.NDArray[np.uint8] = along_x[:, :-1] | (along_x[:, 1:] << np.uint8(2))
    return along_y[:-1] | (along_y[1:] << np.uint8(4))


@lru_cache(maxsize=64)
def surfel_areas(spacing_mm: Spacing) -> npt.NDArray[np.float64]:
    """Area of the surface around a voxel corner, in mm², for each of the 256 codes of :func:`surface_codes`.

    Args:
        spacing_mm: Distance between voxel centres along (z, y, x), in mm.
    """
    z, y, x = spacing_mm
    scale = np.array(
        [y * x, z * x, z * y]
    )  # an area vector's components are areas projected along each axis
    areas = np.array(
        [np.linalg.norm(np.array(_cut(code)) * scale, axis=1).sum() for code in range(256)]
    )
    areas.flags.writeable = False  # shared between callers
    return areas


def _cut(code: int) -> list[tuple[float, float, float]]:
    """Area vectors, up to sign, of the plane pieces in a cube of unit edges."""
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
    """The axis of the edge between two corners, None if there is none."""
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
    if len(group) == 2:  # a rectangle that runs along the edge, aslant to the two other axes
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
