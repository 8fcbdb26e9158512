"""Shapes as signed distances in mm, positive inside, on a working grid aligned with the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from nnstudent.types import Float32Array, Float64Array, MaskArray
from nnstudent.volume import Box

Point = tuple[float, float, float]
Controls = Sequence[Sequence[float]]  # control points: x, y, z and radius in mm
Centerline = Float64Array  # (points, 4): x, y, z and radius in mm
FAR = -30.0  # distance outside the box of a field, in mm


@dataclass(frozen=True, eq=False)
class Field:
    """A signed distance in mm, positive inside, that is known in a box of the working grid.

    Outside the box it is ``FAR``.

    Attributes:
        box: The box, slices along (z, y, x).
        sdf: Distances in the box, (z, y, x).
    """

    box: Box
    sdf: Float32Array

    @property
    def empty(self) -> bool:
        """Whether nothing lies inside the shape."""
        return self.sdf.size == 0 or bool(self.sdf.max() <= 0)

    def within(self, box: Box) -> Float32Array:
        """The distances in another box; ``FAR`` where they are not known."""
        out = np.full(tuple(s.stop - s.start for s in box), FAR, np.float32)
        common = [
            slice(max(a.start, b.start), min(a.stop, b.stop))
            for a, b in zip(self.box, box, strict=True)
        ]
        if all(c.start < c.stop for c in common):
            to = tuple(
                slice(c.start - b.start, c.stop - b.start) for c, b in zip(common, box, strict=True)
            )
            of = tuple(
                slice(c.start - a.start, c.stop - a.start)
                for c, a in zip(common, self.box, strict=True)
            )
            out[to] = self.sdf[of]
        return out

    def minus(self, other: Field, gap_mm: float | Float32Array = 0.0) -> Field:
        """The part of the shape that lies at least ``gap_mm`` outside ``other``."""
        return Field(self.box, np.minimum(self.sdf, -other.within(self.box) - gap_mm))

    def inside(self, other: Field, gap_mm: float = 0.0) -> Field:
        """The part of the shape that lies at least ``gap_mm`` inside ``other``."""
        return Field(self.box, np.minimum(self.sdf, other.within(self.box) - gap_mm))

    def trimmed(self, margin_mm: float) -> Field:
        """The same shape in the smallest box that includes a margin of ``margin_mm``."""
        near = self.sdf > -margin_mm
        box = []
        for axis, span in enumerate(self.box):
            where = np.flatnonzero(near.any(axis=tuple(a for a in range(3) if a != axis)))
            if not where.size:
                return Field((slice(0, 0),) * 3, np.zeros((0, 0, 0), np.float32))
            low, high = max(0, int(where[0]) - 1), int(where[-1]) + 2
            box.append(slice(span.start + low, min(span.stop, span.start + high)))
        cut = (box[0], box[1], box[2])
        inner = tuple(
            slice(c.start - o.start, c.stop - o.start) for c, o in zip(cut, self.box, strict=True)
        )
        return Field(cut, np.ascontiguousarray(self.sdf[inner]))

    def shrunk(self, mm: float) -> Field:
        """The shape eroded by ``mm``."""
        return Field(self.box, self.sdf - np.float32(mm))


def union(fields: Iterable[Field], blend_mm: float = 0.0) -> Field:
    """The union of shapes, with seams rounded over ``blend_mm``."""
    parts = [field for field in fields if field.sdf.size]
    if not parts:
        return Field((slice(0, 0),) * 3, np.zeros((0, 0, 0), np.float32))
    low = [min(p.box[a].start for p in parts) for a in range(3)]
    high = [max(p.box[a].stop for p in parts) for a in range(3)]
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    out = parts[0].within(box)
    for part in parts[1:]:
        other = part.within(box)
        if blend_mm > 0:
            near = np.maximum(blend_mm - np.abs(out - other), 0) / blend_mm
            out = np.maximum(out, other) + near * near * np.float32(blend_mm / 4)
        else:
            np.maximum(out, other, out=out)
    return Field(box, out)


class Space:
    """The working grid: coordinates in the model anatomy at each node, in mm.

    Attributes:
        x, y, z: Model coordinates (towards right, anterior, superior), each (z, y, x).
        pitch_mm: Approximate largest distance between neighboring nodes.
        world: Patient coordinates (towards right, anterior, superior) in mm, not deformed.
        rough: Smooth random fields with a standard deviation of 1 that perturb surfaces, each
            (z, y, x).
    """

    def __init__(
        self,
        x: Float32Array,
        y: Float32Array,
        z: Float32Array,
        rough: Sequence[Float32Array],
        *,
        world: tuple[Float32Array, Float32Array, Float32Array],
    ) -> None:
        self.x, self.y, self.z = x, y, z
        self.rough = tuple(rough)
        self.world = world
        steps = [
            float(np.abs(np.diff(c, axis=a)).max(initial=0))
            for a, c in zip((2, 1, 0), (x, y, z), strict=True)
        ]
        self.pitch_mm = 1.1 * max(steps)
        self._low = [
            [c.min(axis=tuple(b for b in range(3) if b != a)) for a in range(3)] for c in (x, y, z)
        ]
        self._high = [
            [c.max(axis=tuple(b for b in range(3) if b != a)) for a in range(3)] for c in (x, y, z)
        ]

    @property
    def whole(self) -> Box:
        """The box of the whole grid."""
        z, y, x = self.x.shape
        return slice(0, z), slice(0, y), slice(0, x)

    def box(self, low: Sequence[float], high: Sequence[float], margin_mm: float = 8.0) -> Box:
        """The smallest box of nodes that may lie between two corners in model coordinates."""
        out = []
        for axis in range(3):
            keep = np.ones(self.x.shape[axis], bool)
            for c in range(3):
                keep &= (self._high[c][axis] >= low[c] - margin_mm) & (
                    self._low[c][axis] <= high[c] + margin_mm
                )
            where = np.flatnonzero(keep)
            out.append(slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 0))
        if any(s.start == s.stop for s in out):
            return (slice(0, 0),) * 3
        return out[0], out[1], out[2]

    def perturbed(self, field: Field, mm: float, which: int = 0) -> Field:
        """The shape with an uneven surface; ``mm`` is its standard deviation."""
        rough = self.rough[which % len(self.rough)]
        return Field(field.box, field.sdf + np.float32(mm) * rough[field.box])

    def ellipsoid(
        self,
        center: Point,
        radii: Point,
        axes: Float64Array | None = None,
        power: float = 2.0,
    ) -> Field:
        """An ellipsoid, or a box with rounded corners if ``power`` is above 2.

        Args:
            center: Center in model coordinates.
            radii: Radii along its own axes, in mm.
            axes: Its own axes as rows; None for x, y and z.
            power: Power of the superellipsoid.
        """
        turn = np.eye(3) if axes is None else axes
        reach = np.abs(turn.T) @ np.array(radii)
        box = self.box(np.array(center) - reach, np.array(center) + reach)
        d = [c[box] - np.float32(m) for c, m in zip((self.x, self.y, self.z), center, strict=True)]
        q = np.zeros(d[0].shape, np.float32)
        for row, radius in zip(turn, radii, strict=True):
            along = sum(np.float32(w) * v for w, v in zip(row, d, strict=True)) / np.float32(radius)
            q += along * along if power == 2.0 else np.abs(along) ** power
        q = np.sqrt(q) if power == 2.0 else q ** np.float32(1 / power)
        r = np.sqrt(d[0] ** 2 + d[1] ** 2 + d[2] ** 2)
        least = np.float32(min(radii))
        # The distance along the ray from the center, limited to what is possible.
        return Field(
            box, np.clip(np.where(q > 1e-3, r * (1 / np.maximum(q, 1e-3) - 1), least), FAR, least)
        )

    def tube(
        self, paths: Sequence[Centerline], *, margin_mm: float = 8.0, flat: Point = (1, 1, 1)
    ) -> Field:
        """Tubes around centerlines.

        Args:
            paths: Densely sampled centerlines (see :func:`centerline`).
            margin_mm: How far outside the tubes the distance must be known.
            flat: Factors of the distance along x, y and z for tubes that are not round; above 1 is
                thinner.
        """
        points = np.concatenate(paths)
        widest = float(points[:, 3].max())
        box = self.box(points[:, :3].min(0) - widest, points[:, :3].max(0) + widest, margin_mm)
        x, y, z = self.x[box], self.y[box], self.z[box]
        sdf = np.full(x.shape, FAR, np.float32)
        if not x.size:
            return Field(box, sdf)
        limit = widest + margin_mm
        tree = cKDTree(points[:, :3] * np.array(flat))
        near = self._blocks_near(tree, (x, y, z), flat, limit)
        nodes = np.stack([c[near] * w for c, w in zip((x, y, z), flat, strict=True)], axis=1)
        distance, index = tree.query(nodes, distance_upper_bound=limit, workers=2)
        radius = np.append(points[:, 3], 0.0)[index]
        sdf[near] = np.where(np.isfinite(distance), radius - np.minimum(distance, limit), FAR)
        return Field(box, np.maximum(sdf, FAR))

    def _blocks_near(
        self,
        tree: cKDTree,
        places: tuple[Float32Array, Float32Array, Float32Array],
        flat: Point,
        limit: float,
    ) -> MaskArray:
        """Nodes of the 4×4×4 blocks that may have a node within ``limit`` of a centerline."""
        shape = places[0].shape
        at = [np.minimum(np.arange(0, n, 4) + 2, n - 1) for n in shape]
        middles = np.stack(
            [c[np.ix_(*at)].ravel() * w for c, w in zip(places, flat, strict=True)], axis=1
        )
        reach = 3.6 * max(flat) * self.pitch_mm  # from a block's middle to its farthest node
        far, _ = tree.query(middles, distance_upper_bound=limit + reach, workers=2)
        near = np.isfinite(far).reshape([len(a) for a in at])
        for axis, n in enumerate(shape):
            near = near.repeat(4, axis).take(np.arange(n), axis)
        return np.asarray(near, np.bool_)


def centerline(controls: Controls | Centerline, *, step_mm: float = 1.5) -> Centerline:
    """A smooth centerline through control points (x, y, z, radius), sampled every ``step_mm``.

    Returns:
        (points, 4): x, y, z and radius in mm.
    """
    points = np.asarray(controls, np.float64)
    knots = np.concatenate(
        [[0.0], np.cumsum(np.maximum(np.linalg.norm(np.diff(points[:, :3], axis=0), axis=1), 1e-3))]
    )
    at = np.linspace(0, knots[-1], max(2, int(knots[-1] / step_mm) + 1))
    dense = CubicSpline(knots, points, bc_type="natural")(at)
    dense[:, 3] = np.clip(np.interp(at, knots, points[:, 3]), 0.3, None)
    return np.asarray(dense, np.float64)


def curve(at: Float32Array, knots: Sequence[float], values: Sequence[float]) -> Float32Array:
    """Piecewise linear interpolation at many positions (mm), by a table in steps of 0.5 mm."""
    table = np.interp(np.arange(knots[0], knots[-1] + 0.5, 0.5), knots, values).astype(np.float32)
    index = ((at - np.float32(knots[0])) * np.float32(2) + np.float32(0.5)).astype(np.int32)
    return np.asarray(table.take(index, mode="clip"), np.float32)


def rotated_axes(x_deg: float = 0.0, y_deg: float = 0.0, z_deg: float = 0.0) -> Float64Array:
    """The axes (rows) of a shape that is rotated about x, then y, then z."""
    a, b, c = np.deg2rad([x_deg, y_deg, z_deg])
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray((rz @ ry @ rx).T, np.float64)
