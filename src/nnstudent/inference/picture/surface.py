"""A 3D view of a label map: shaded, translucent surfaces, drawn with numpy and scipy alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np
from PIL import Image
from scipy import ndimage

from nnstudent.inference.picture.choose import Sections
from nnstudent.taxonomy import LabelClass
from nnstudent.types import Float32Array, Float64Array, LabelArray
from nnstudent.volume import Box, Volume

_FINE_MM = 1.6  # masks are reduced to voxels of about this size
_SMOOTH_MM = 1.5  # standard deviation of the smoothing of each mask
_PITCH = 2  # pixels of the picture between two rays, and between two samples along a ray
_MARGIN = 10  # pixels around the organs
_MOST_CLASSES = 32  # the largest ones; more would be a tangle
_TURN, _TILT = radians(18.0), radians(12.0)  # seen a little from the patient's left, and from above
_SOLID_ML = 60.0  # what is smaller is drawn less translucent
_BAND = 32  # rows that are put together at once, to need little memory
# From the front, as (row, column, depth) of (z, y, x): down, to the patient's left, to the back.
_FRONT = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])
_LIGHT = np.array([-0.55, -0.35, -0.76])  # to the light, as (row, column, depth)


@dataclass(frozen=True, eq=False)
class _Layer:
    """The visible surface of one class.

    Attributes:
        place: The part of the picture that it covers, slices of (row, column).
        depth: How far from the viewer it lies, in pixels.
        color: Its shaded color, (row, column, 3).
        alpha: Its opacity; 0 where it is not seen.
    """

    place: tuple[slice, slice]
    depth: Float32Array
    color: LabelArray
    alpha: LabelArray


def draw_surfaces(
    labels: Volume,
    sections: Sections,
    classes: Sequence[LabelClass],
    *,
    size: tuple[int, int],
    background: tuple[int, int, int] = (0, 0, 0),
) -> Image.Image:
    """Draw the organs as translucent surfaces, seen from the front.

    The patient's right is on the left.

    Args:
        labels: The label map in RAS.
        sections: Its measures.
        classes: The classes to show.
        size: Width and height, in pixels.
        background: Color behind the organs.
    """
    order = sorted(range(len(sections.ids)), key=lambda k: -sections.voxels[k])[:_MOST_CLASSES]
    known = {item.id: item for item in classes}
    shown = [k for k in order if sections.ids[k] in known]
    canvas = np.full((size[1], size[0], 3), background, np.float32)
    if shown:
        view = _View.around(labels, [sections.boxes[k] for k in shown], size=size)
        layers = [
            layer
            for k in shown
            for layer in _layers(labels, known[sections.ids[k]], box=sections.boxes[k], view=view)
        ]
        _compose(canvas, layers)
    return Image.fromarray(canvas.round().astype(np.uint8))


@dataclass(frozen=True, eq=False)
class _View:
    """Where a point of the scan, in mm from its first voxel, falls in the picture.

    Attributes:
        turn: From (z, y, x) to (row, column, depth), 3×3.
        scale: Pixels per mm.
        origin: What is added to give the pixel, (row, column, depth).
    """

    turn: Float64Array
    scale: float
    origin: Float64Array

    @classmethod
    def around(cls, labels: Volume, boxes: Sequence[Box], *, size: tuple[int, int]) -> _View:
        """The view in which the boxes fill a picture of (width, height)."""
        turn = _turned()
        corners = np.concatenate([_corners(box, labels.spacing_mm) for box in boxes]) @ turn.T
        low, high = corners.min(axis=0), corners.max(axis=0)
        room = np.array([size[1], size[0]]) - 2 * _MARGIN
        scale = float((room / np.maximum(high - low, 1.0)[:2]).min())
        middle = np.array([size[1] / 2, size[0] / 2, 0.0])
        near = np.array([*(low + high)[:2] / 2, low[2]])
        return cls(turn, scale, middle - scale * near)


def _turned() -> Float64Array:
    turn = np.array([[1, 0, 0], [0, cos(_TURN), -sin(_TURN)], [0, sin(_TURN), cos(_TURN)]])
    tilt = np.array([[cos(_TILT), 0, -sin(_TILT)], [0, 1, 0], [sin(_TILT), 0, cos(_TILT)]])
    turned: Float64Array = tilt @ turn @ _FRONT
    return turned


def _corners(box: Box, spacing_mm: Sequence[float]) -> Float64Array:
    ends = [
        ((part.start - 0.5) * mm, (part.stop - 0.5) * mm)
        for part, mm in zip(box, spacing_mm, strict=True)
    ]
    return np.array([[z, y, x] for z in ends[0] for y in ends[1] for x in ends[2]])


def _layers(labels: Volume, item: LabelClass, *, box: Box, view: _View) -> Iterator[_Layer]:
    """The layer of a class; none if nothing of it is left at the picture's resolution."""
    soft = _soften(labels, item.id, box)
    corners = _corners(box, labels.spacing_mm) @ view.turn.T * view.scale + view.origin
    low = np.floor(corners.min(axis=0) / _PITCH).astype(int) - 3
    high = np.ceil(corners.max(axis=0) / _PITCH).astype(int) + 4
    # From (row, column, depth) of the rays to the voxels of the softened mask.
    matrix = view.turn.T * (_PITCH / view.scale) / soft.voxel_mm[:, None]
    shift = view.turn.T @ ((low * _PITCH - view.origin) / view.scale)
    rays = ndimage.affine_transform(
        soft.array,
        matrix,
        (shift - soft.first_mm) / soft.voxel_mm,
        output_shape=tuple(high - low),
        order=1,
    )
    peak = rays.max(axis=2)
    if not (peak > soft.level).any():
        return
    depth, normal = _first_hit(rays, soft.level)
    depth, peak, *normal = (_enlarge(part) for part in (depth, peak, *normal))
    covered = np.clip((peak / soft.level - 1) / 0.3 + 0.5, 0, 1)
    color, alpha = _shade(np.stack(normal), item, solid=soft.volume_ml < _SOLID_ML)
    layer = _Layer(
        (slice(low[0] * _PITCH, high[0] * _PITCH), slice(low[1] * _PITCH, high[1] * _PITCH)),
        (depth + low[2]) * _PITCH,
        color,
        np.round(255 * alpha * covered).astype(np.uint8),
    )
    yield layer


@dataclass(frozen=True, eq=False)
class _Soft:
    """A mask with smooth borders.

    Attributes:
        array: Share of the class around each voxel, (z, y, x).
        level: What the share is on the surface, so that the volume stays the same.
        first_mm: Place of the first voxel, in mm from the scan's first voxel.
        voxel_mm: Size of a voxel, along (z, y, x).
        volume_ml: Volume of the class.
    """

    array: Float32Array
    level: float
    first_mm: Float64Array
    voxel_mm: Float64Array
    volume_ml: float


def _soften(labels: Volume, id: int, box: Box) -> _Soft:
    spacing = np.array(labels.spacing_mm)
    by = np.maximum(1, np.round(_FINE_MM / spacing).astype(int))
    mask = labels.array[box] == id
    filled = int(mask.sum())
    margins = [(0, -size % int(step)) for size, step in zip(mask.shape, by, strict=True)]
    mask = np.pad(mask, margins)
    z, y, x = (size // int(step) for size, step in zip(mask.shape, by, strict=True))
    parts = mask.reshape(z, by[0], y, by[1], x, by[2])
    array = np.pad(parts.mean(axis=(1, 3, 5), dtype=np.float32), 2)
    voxel = spacing * by
    array = ndimage.gaussian_filter(array, np.maximum(_SMOOTH_MM / voxel, 0.7), truncate=3.0)
    first = np.array([part.start for part in box]) * spacing + (by - 1) / 2 * spacing - 2 * voxel
    # Thin organs would shrink at one half.
    rank = min(array.size - 1, max(1, round(filled / by.prod())))
    peak = float(array.max())
    level = float(np.clip(np.partition(array.ravel(), -rank)[-rank], 0.3 * peak, 0.5 * peak))
    return _Soft(array, level, first, voxel, filled * labels.grid.voxel_ml)


def _first_hit(rays: Float32Array, level: float) -> tuple[Float32Array, list[Float32Array]]:
    """Where each ray meets the surface, or comes closest to it, and the surface's direction there.

    Args:
        rays: The softened mask, (row, column, depth).
        level: Its value on the surface.

    Returns:
        Depth in samples, and the three parts of the normal, which points to the outside.
    """
    inside = rays > level
    hit = np.where(inside.any(axis=2), inside.argmax(axis=2), rays.argmax(axis=2))
    hit = np.clip(hit, 1, rays.shape[2] - 2)
    row, column = np.indices(hit.shape)
    here, before = rays[row, column, hit], rays[row, column, hit - 1]
    part = np.clip((here - level) / np.maximum(here - before, 1e-6), 0, 1)
    above, below = np.maximum(row - 1, 0), np.minimum(row + 1, hit.shape[0] - 1)
    left, right = np.maximum(column - 1, 0), np.minimum(column + 1, hit.shape[1] - 1)
    normal = [
        rays[above, column, hit] - rays[below, column, hit],
        rays[row, left, hit] - rays[row, right, hit],
        before - rays[row, column, hit + 1],
    ]
    return (hit - part).astype(np.float32), normal


def _enlarge(part: Float32Array) -> Float32Array:
    height, width = part.shape
    size = (width * _PITCH, height * _PITCH)
    picture = Image.fromarray(part.astype(np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))


def _shade(
    normal: Float32Array, item: LabelClass, *, solid: bool
) -> tuple[LabelArray, Float32Array]:
    """The color of a lit surface and its opacity, which grows where it is seen from the side."""
    normal = normal / np.maximum(np.linalg.norm(normal, axis=0), 1e-6)
    light = np.clip(np.tensordot(_LIGHT, normal, 1), 0, 1)
    half = _LIGHT + np.array([0.0, 0.0, -1.0])
    gloss = np.clip(np.tensordot(half / np.linalg.norm(half), normal, 1), 0, 1) ** 30
    lit = np.array(item.color) * (0.45 + 0.75 * light)[..., None] + 70 * gloss[..., None]
    base = 0.9 if solid or item.kind == "lesion" else 0.5
    alpha = base + (1 - base) * 0.75 * (1 - np.clip(-normal[2], 0, 1)) ** 2
    return np.clip(lit, 0, 255).astype(np.uint8), alpha.astype(np.float32)


def _compose(canvas: Float32Array, layers: Sequence[_Layer]) -> None:
    """Draw the layers onto the canvas, at each pixel from the back to the front."""
    height, width = canvas.shape[:2]
    for top in range(0, height, _BAND):
        band = canvas[top : top + _BAND]
        rows = len(band)
        depth = np.full((len(layers), rows, width), -np.inf, np.float32)
        color = np.zeros((len(layers), rows, width, 3), np.uint8)
        alpha = np.zeros((len(layers), rows, width), np.uint8)
        for k, layer in enumerate(layers):
            down, across = layer.place
            first, last = max(down.start, top), min(down.stop, top + rows)
            left, right = max(across.start, 0), min(across.stop, width)
            if first >= last or left >= right:
                continue
            here = np.s_[first - top : last - top, left:right]
            there = np.s_[
                first - down.start : last - down.start, left - across.start : right - across.start
            ]
            seen = layer.alpha[there] > 0
            depth[k][here] = np.where(seen, layer.depth[there], -np.inf)
            color[k][here], alpha[k][here] = layer.color[there], layer.alpha[there]
        for place in np.argsort(-depth, axis=0):
            take = place[None]
            over = np.take_along_axis(alpha, take, axis=0)[0][..., None] / np.float32(255)
            paint = np.take_along_axis(color, take[..., None], axis=0)[0]
            band += over * (paint - band)
