"""Shapes as signed distances in mm, positive inside, on a working grid that stands in the image's frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from nnstudent.volume import Box

Array = npt.NDArray[np.float32]
Point = tuple[float, float, float]
Controls = Sequence[Sequence[float]]  # of each point x, y, z and radius in mm
Path = npt.NDArray[np.float64]  # (points, 4): x, y, z and radius in mm
FAR = -30.0  # what a distance is outside of its box, in mm


@dataclass(frozen=True, eq=False)
class Field:
    """A signed distance in mm, positive inside, known in a box of the working grid and far outside of it elsewhere.

    Attributes:
        box: Where it is known, slices along (z, y, x).
        sdf: Values in the box, (z, y, x).
    """

    box: Box
    sdf: Array

    @property
    def empty(self) -> bool:
        """Whether nothing lies inside the shape."""
        return self.sdf.size == 0 or bool(self.sdf.max() <= 0)

    def within(self, box: Box) -> Array:
        """The distances in another box, ``FAR`` where they are not known."""
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

    def minus(self, other: Field, gap_mm: float | Array = 0.0) -> Field:
        """What of it lies outside of ``other``, ``gap_mm`` away."""
        return Field(self.box, np.minimum(self.sdf, -other.within(self.box) - gap_mm))

    def inside(self, other: Field, gap_mm: float = 0.0) -> Field:
        """What of it lies inside of ``other``, ``gap_mm`` deep."""
        return Field(self.box, np.minimum(self.sdf, other.within(self.box) - gap_mm))

    def trimmed(self, margin_mm: float) -> Field:
        """The same in the least box that holds what lies less than ``margin_mm`` outside."""
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
        """The shape made thinner by ``mm`` all round."""
        return Field(self.box, self.sdf - np.float32(mm))


def union(fields: Iterable[Field], blend_mm: float = 0.0) -> Field:
    """All shapes together, their seams rounded over ``blend_mm``."""
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
    """The working grid: at each node the place in the model anatomy, in mm.

    Attributes:
        x, y, z: Place in the model anatomy (towards right, anterior, superior), each (z, y, x).
        pitch_mm: Largest distance between neighbouring nodes, about.
        world: Place in the room, mm towards right, anterior, superior; not deformed.
        rough: Smooth random fields of unit deviation that surfaces are perturbed with, each (z, y, x).
    """

    def __init__(
        self,
        x: Array,
        y: Array,
        z: Array,
        rough: Sequence[Array],
        *,
        world: tuple[Array, Array, Array],
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
        """The least box of nodes that may lie between two corners of the model anatomy."""
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
        """The shape with an uneven surface, ``mm`` being the deviation."""
        rough = self.rough[which % len(self.rough)]
        return Field(field.box, field.sdf + np.float32(mm) * rough[field.box])

    def ellipsoid(
        self,
        center: Point,
        radii: Point,
        axes: npt.NDArray[np.float64] | None = None,
        power: float = 2.0,
    ) -> Field:
        """An ellipsoid, or with a ``power`` above 2 a box with rounded corners; rows of ``axes`` are its own axes."""
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
        # along the ray from the centre, held to what is possible near it
        return Field(
            box, np.clip(np.where(q > 1e-3, r * (1 / np.maximum(q, 1e-3) - 1), least), FAR, least)
        )

    def tube(
        self, paths: Sequence[Path], *, margin_mm: float = 8.0, flat: Point = (1, 1, 1)
    ) -> Field:
        """Tubes round paths.

        Args:
            paths: Each (points, 4): x, y, z and radius in mm, dense (see :func:`path`).
            margin_mm: How far outside the distance is to be known.
            flat: Stretches the distance along x, y, z, for tubes that are not round (above 1 is thinner).
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
        self, tree: cKDTree, places: tuple[Array, Array, Array], flat: Point, limit: float
    ) -> npt.NDArray[np.bool_]:
        """Nodes in blocks of 4×4×4 whose middle is near enough to a path that one of the block's nodes may be."""
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


def path(controls: Controls | Path, *, step_mm: float = 1.5) -> Path:
    """A smooth path through control points (x, y, z, radius), sampled every ``step_mm``; (points, 4)."""
    points = np.asarray(controls, np.float64)
    knots = np.concatenate(
        [[0.0], np.cumsum(np.maximum(np.linalg.norm(np.diff(points[:, :3], axis=0), axis=1), 1e-3))]
    )
    at = np.linspace(0, knots[-1], max(2, int(knots[-1] / step_mm) + 1))
    dense = CubicSpline(knots, points, bc_type="natural")(at)
    dense[:, 3] = np.clip(np.interp(at, knots, points[:, 3]), 0.3, None)
    return np.asarray(dense, np.float64)


def curve(at: Array, knots: Sequence[float], values: Sequence[float]) -> Array:
    """Piecewise linear interpolation for many places (mm), looked up in steps of half a millimeter."""
    table = np.interp(np.arange(knots[0], knots[-1] + 0.5, 0.5), knots, values).astype(np.float32)
    index = ((at - np.float32(knots[0])) * np.float32(2) + np.float32(0.5)).astype(np.int32)
    return np.asarray(table.take(index, mode="clip"), np.float32)


def turned(x_deg: float = 0.0, y_deg: float = 0.0, z_deg: float = 0.0) -> npt.NDArray[np.float64]:
    """Own axes (rows) of a shape turned about x, then y, then z."""
    a, b, c = np.deg2rad([x_deg, y_deg, z_deg])
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray((rz @ ry @ rx).T, np.float64)
