"""Drawing layers onto the scan's grid: HU with partial volume, texture and noise, and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nnstudent.phantom.acquisition import Scan
from nnstudent.phantom.build import Layer
from nnstudent.phantom.grid import Nodes, smooth_noise
from nnstudent.phantom.shapes import Field, Space
from nnstudent.phantom.tissues import Tissue
from nnstudent.types import Float32Array, Float64Array, IndexArray, LabelArray, MaskArray

_SLAB_VOXELS = 2_000_000
_TEXTURE_MM = 4.0
_BLANK_HU = -1024.0
_OUTSIDE_MM = -8.0  # distance assumed just outside the box of a field

# For positions along an axis: the node before each, and the fraction of the way to the next node.
Interpolation = tuple[IndexArray, Float32Array]


@dataclass(frozen=True, eq=False)
class RenderedScan:
    """A scan, (z, y, x), on the grid before its axes are reoriented.

    Attributes:
        image: HU, int16.
        organs: Ids of the organs in the label table, uint8; a lesion has the id of its host.
        lesion: Mask of the lesions.
    """

    image: npt.NDArray[np.int16]
    organs: LabelArray
    lesion: MaskArray


def render(
    scan: Scan,
    nodes: Nodes,
    space: Space,
    layers: Sequence[Layer],
    *,
    tissues: dict[str, Tissue],
    seed: int,
) -> RenderedScan:
    """Draw the layers slab by slab along z, so that memory stays bounded."""
    nz, ny, nx = scan.shape
    parts = nodes.parts
    out = RenderedScan(
        np.empty(scan.shape, np.int16),
        np.zeros(scan.shape, np.uint8),
        np.zeros(scan.shape, np.bool_),
    )
    places = [at * mm for at, mm in zip(nodes.at, scan.spacing_mm, strict=True)]
    fine = smooth_noise(np.random.default_rng([seed, 4]), places, _TEXTURE_MM)
    plane = [
        _interpolation(nodes.at[1], np.arange(ny, dtype=np.float64)),
        _interpolation(nodes.at[2], np.arange(nx, dtype=np.float64)),
    ]
    step = max(1, _SLAB_VOXELS // (ny * nx * parts))

    outside = np.hypot(*np.ogrid[1 - ny : ny : 2, 1 - nx : nx : 2]) > max(ny, nx)

    def draw(start: int) -> None:
        stop = min(nz, start + step)
        at = (np.arange(start * parts, stop * parts) + 0.5) / parts - 0.5
        slab = _Slab(
            [_interpolation(nodes.at[0], at), *plane], parts, scan.blur_mm, (fine, space.rough[1])
        )
        for layer in layers:
            slab.draw(layer, tissues[layer.tissue])
        hu = slab.image() + _noise(np.random.default_rng([seed, 5, start]), slab.organs.shape, scan)
        if scan.round_field:
            hu[:, outside] = _BLANK_HU
        out.image[start:stop] = np.clip(np.rint(hu), _BLANK_HU, 3071)
        out.organs[start:stop], out.lesion[start:stop] = slab.organs, slab.lesion

    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(draw, range(0, nz, step)):
            pass
    return out


class _Slab:
    """Slices of a scan while they are drawn.

    Each slice is the mean of ``parts`` thinner ones, which gives partial volume.
    """

    def __init__(
        self,
        axes: list[Interpolation],
        parts: int,
        blur_mm: float,
        textures: tuple[Float32Array, Float32Array],
    ) -> None:
        self.axes, self.parts, self.blur_mm = axes, parts, blur_mm
        self.hu = np.full([len(before) for before, _ in axes], -1000.0, np.float32)
        shape = (self.hu.shape[0] // parts, *self.hu.shape[1:])
        self.organs, self.lesion = np.zeros(shape, np.uint8), np.zeros(shape, np.bool_)
        self.grain = [_interpolated(texture, axes) for texture in textures]

    def draw(self, layer: Layer, tissue: Tissue) -> None:
        """Draw one layer over the layers before it."""
        window, take = self._window(layer.field)
        if not take:
            return
        boxed = np.pad(layer.field.sdf, 1, constant_values=_OUTSIDE_MM)
        sdf = _interpolated(boxed, take)
        part = self.hu[window]
        share = np.clip(sdf * np.float32(1 / self.blur_mm) + np.float32(0.5), 0, 1)
        value = np.float32(tissue.fine) * self.grain[0][window]
        value += np.float32(tissue.coarse) * self.grain[1][window]
        value += np.float32(tissue.hu)
        value -= part
        value *= share
        part += value
        if layer.label is None and not layer.lesion:
            return
        if self.parts > 1:
            sdf = sdf.reshape(-1, self.parts, *sdf.shape[1:]).mean(1)
        slices = slice(window[0].start // self.parts, window[0].stop // self.parts)
        if layer.lesion:
            self.lesion[slices, window[1], window[2]] |= sdf > 0
        else:
            self.organs[slices, window[1], window[2]][sdf > 0] = layer.label

    def image(self) -> Float32Array:
        """HU of the full slices."""
        if self.parts == 1:
            return self.hu
        return np.asarray(self.hu.reshape(-1, self.parts, *self.hu.shape[1:]).mean(1), np.float32)

    def _window(self, field: Field) -> tuple[tuple[slice, ...], list[Interpolation]]:
        """The part of the slab that a field reaches, and its interpolation in the padded box."""
        window, take = [], []
        for axis, ((before, share), span) in enumerate(zip(self.axes, field.box, strict=True)):
            near = np.flatnonzero((before >= span.start - 1) & (before < span.stop))
            if not near.size:
                return (), []
            low, high = int(near[0]), int(near[-1]) + 1
            if axis == 0:  # whole slices
                low, high = low // self.parts * self.parts, -(-high // self.parts) * self.parts
            window.append(slice(low, high))
            inside = np.clip(before[low:high] - span.start + 1, 0, span.stop - span.start + 1)
            take.append((inside, share[low:high]))
        return tuple(window), take


def _interpolation(nodes: Float64Array, at: Float64Array) -> Interpolation:
    pitch = nodes[1] - nodes[0]
    where = np.clip((at - nodes[0]) / pitch, 0, len(nodes) - 1.000001)
    before = np.minimum(np.floor(where + 1e-6).astype(np.intp), len(nodes) - 2)
    return before, np.clip(where - before, 0, 1).astype(np.float32)


def _interpolated(values: Float32Array, axes: Sequence[Interpolation]) -> Float32Array:
    """Linear interpolation along each axis."""
    for axis, (before, part) in enumerate(axes):
        low = values.take(before, axis)
        if part.any():
            high = values.take(np.minimum(before + 1, values.shape[axis] - 1), axis)
            high -= low
            high *= part.reshape([-1 if a == axis else 1 for a in range(3)])
            low += high
        values = low
    return values


def _noise(rng: np.random.Generator, shape: tuple[int, ...], scan: Scan) -> Float32Array:
    """Noise as from filtered back projection: correlated in plane, over about 1 mm, not along z."""
    white = rng.standard_normal(shape, dtype=np.float32)
    sigma = scan.grain_mm / scan.spacing_mm[1]
    if sigma < 0.35:
        return white * np.float32(scan.noise_hu)
    soft = ndimage.gaussian_filter(white, (0, sigma, sigma), truncate=2.5)
    return np.asarray(soft * np.float32(scan.noise_hu / max(float(soft.std()), 1e-6)), np.float32)
