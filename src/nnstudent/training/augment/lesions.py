"""Paint lesions into the organs of a window, and look-alikes that are no lesions.

The idea comes from Hu et al., "Label-free liver tumor segmentation", CVPR 2023 (SynTumor): a
network that has only seen painted tumors finds real ones. What is painted is described in
:mod:`nnstudent.training.augment.physiology`; this module paints it. Pure NumPy, in HU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nnstudent.inference.labels.phase import Phase, guess_phase
from nnstudent.training.augment.physiology import HOST_WEIGHTS, LESIONS, LOOK_ALIKES, Kind
from nnstudent.training.augment.shapes import REACH, draw_shape, smooth_noise
from nnstudent.types import Float32Array, Float64Array, MaskArray
from nnstudent.volume import Spacing

LEAST_HU = 10.0  # contrast that an eye notices, however large and smooth the lesion
MOTTLED = 1.5  # contrast over the deviation of the host itself: cortex and medulla, lobules and fat
# Contrast over noise, times the square root of the area in pixels: what an eye needs (Rose).
ROSE = 4.0
_LEAST_HOST_ML = 0.3  # an organ with less in the window bears nothing
_MARGIN = 1.05  # of a box around what is painted
_TRIES = 8
_LEAST_SHARE = 0.65  # of a tumor's shape that has to lie where it may be painted
_LEAST_VOXELS = 6  # a smaller tumor is noise on this grid


@dataclass(frozen=True)
class Painted:
    """What was painted.

    Attributes:
        kind: Its kind.
        host: The organ's name.
        mask: Its voxels in the window, (z, y, x).
        contrast_hu: Mean HU in it less what was there before.
        diameter_mm: The diameter that was drawn.
    """

    kind: Kind
    host: str
    mask: MaskArray
    contrast_hu: float
    diameter_mm: float


def paint(
    image: Float32Array,
    labels: npt.NDArray[np.integer],
    organs: Mapping[str, int],
    rng: np.random.Generator,
    *,
    spacing_mm: Spacing,
    lesions: int,
    look_alikes: int,
    kinds: Sequence[Kind] = (*LESIONS, *LOOK_ALIKES),
) -> list[Painted]:
    """Paint into a window in place.

    Args:
        image: HU, (z, y, x); changed where something is painted.
        labels: (z, y, x); not changed.
        organs: Value in ``labels`` of each organ that may bear something; every other value above
            0 is left as it is.
        rng: Draws everything.
        spacing_mm: (z, y, x).
        lesions: Number of tumors to paint.
        look_alikes: Number of things to paint that are no tumors.
        kinds: The kinds to draw from.

    Returns:
        What was painted, in order; fewer than asked for if there was no room, or if what was
        drawn could not be seen.
    """
    least = _LEAST_HOST_ML * 1000 / float(np.prod(spacing_mm))
    counts = np.bincount(labels[labels > 0], minlength=256)  # -1 is padding
    present = {name: value for name, value in organs.items() if counts[value] >= least}
    if not present:
        return []
    canvas = _Canvas(
        image,
        labels,
        np.zeros(labels.shape, np.bool_),
        phase_of(image, labels, organs),
        np.array(spacing_mm, np.float64),
        rng,
    )
    done: list[Painted] = []
    for tumor, wanted in ((False, look_alikes), (True, lesions)):
        own = [kind for kind in kinds if kind.tumor is tumor]
        hosts = [name for name in present if any(name in kind.hosts for kind in own)]
        left = wanted if hosts else 0
        while left > 0:
            name = hosts[_draw([HOST_WEIGHTS.get(host, 1.0) for host in hosts], rng)]
            kind = own[_draw([one.hosts.get(name, 0.0) for one in own], rng)]
            for _ in range(min(left, int(rng.integers(1, kind.most + 1)))):
                left -= 1
                one = canvas.add(kind, name, labels == present[name])
                if one is not None:
                    done.append(one)
    return done


def _draw(weights: Sequence[float], rng: np.random.Generator) -> int:
    """The index of one of several, each as likely as its weight."""
    return int(rng.choice(len(weights), p=np.array(weights) / sum(weights)))


def phase_of(
    image: Float32Array, labels: npt.NDArray[np.integer], organs: Mapping[str, int]
) -> Phase:
    """Estimate the contrast phase from the brightness of aorta, kidneys or liver.

    Args:
        image: HU, (z, y, x).
        labels: (z, y, x).
        organs: Value in ``labels`` of each organ.

    Returns:
        ``portal`` if the window has none of these organs.
    """
    hu = {}
    for name in ("aorta", "right_kidney", "left_kidney", "liver"):
        inside = image[labels == organs[name]] if name in organs else image[:0]
        if inside.size > 50:
            hu[name] = float(np.median(inside))
    guess = guess_phase(hu)
    return guess[0] if guess else "portal"


@dataclass(frozen=True, eq=False)
class _Canvas:
    """A window that is painted on.

    Attributes:
        image: HU, (z, y, x).
        labels: (z, y, x).
        taken: Where something was painted already, and around it.
        phase: Contrast phase of the scan.
        space: Spacing in mm, (z, y, x).
        rng: Draws everything.
    """

    image: Float32Array
    labels: npt.NDArray[np.integer]
    taken: MaskArray
    phase: Phase
    space: Float64Array
    rng: np.random.Generator

    def add(self, kind: Kind, host: str, own: MaskArray) -> Painted | None:
        """Paint one lesion or look-alike into an organ.

        Args:
            kind: What to paint.
            host: The organ's name.
            own: The organ's voxels, (z, y, x).

        Returns:
            None if there is no room for it, or if it could not be seen.
        """
        rng, voxels = self.rng, np.flatnonzero(own)
        ball_mm3 = len(voxels) * float(np.prod(self.space))
        thickness = 2 * (3 * ball_mm3 / (4 * np.pi)) ** (1 / 3)  # of a ball of the organ's volume
        outward = rng.random() < kind.exophytic
        least = kind.size_mm[0]
        most = min(kind.size_mm[1], (1.4 if outward else 0.9) * thickness)
        if kind.shape == "ball" and least > most:
            return None
        for _ in range(_TRIES):
            diameter = float(np.exp(rng.uniform(np.log(least), np.log(max(most, least + 0.1)))))
            centre = np.array(np.unravel_index(voxels[int(rng.integers(len(voxels)))], own.shape))
            box = self._box(centre, _MARGIN * REACH[kind.shape] * diameter / 2)
            distance = draw_shape(
                kind,
                diameter,
                (centre - [part.start for part in box]) * self.space,
                [part.stop - part.start for part in box],
                self.space,
                rng,
            )
            room = self._room(own, box, outward=outward)
            inside = int(((distance > 0) & room).sum())
            # What is left of a lesion that hardly fits is a crescent or a shell.
            cut_off = inside < _LEAST_SHARE * (distance > 0).sum()
            if inside >= 2 and not (kind.tumor and cut_off):
                stroke = _Stroke(kind, host, diameter, box, distance, room)
                return self._blend(stroke, own)
        return None

    def _box(self, centre: npt.NDArray[np.intp], reach_mm: float) -> tuple[slice, ...]:
        return tuple(
            slice(
                max(0, int(c - np.ceil(reach_mm / mm))),
                min(size, int(c + np.ceil(reach_mm / mm)) + 1),
            )
            for c, mm, size in zip(centre, self.space, self.labels.shape, strict=True)
        )

    def _room(self, own: MaskArray, box: tuple[slice, ...], *, outward: bool) -> MaskArray:
        """Voxels of a box that may be painted."""
        labels = self.labels[box]
        # A lesion displaces what its host encloses, such as the fat of a kidney's sinus.
        room = own[box] | (ndimage.binary_closing(own[box], iterations=3) & (labels == 0))
        if outward:  # into fat and unlabeled soft tissue, but not into lung, bone or gas
            smooth = ndimage.gaussian_filter(self.image[box], 1.5)  # noise would leave holes
            room |= (labels == 0) & (smooth > -140) & (smooth < 90)
            room |= (labels == 0) & ndimage.binary_closing(room)
        free: MaskArray = room & ~self.taken[box]
        return free

    def _blend(self, stroke: _Stroke, own: MaskArray) -> Painted | None:
        kind, box, rng = stroke.kind, stroke.box, self.rng
        under = self.image[box]
        host = _host_look(self.image, own, box, stroke.distance)
        hu = _inner_hu(kind, self.phase, host.hu, rng)
        if kind.tumor:
            visible = _visible(hu, host, stroke.diameter_mm, self.space)
            if visible is None:
                return None
            hu = visible
        edge = float(rng.uniform(*kind.edge_mm)) + 0.3 * float(self.space.min())
        alpha = (
            np.clip(stroke.distance / edge + 0.5, 0, 1)
            * ndimage.gaussian_filter(stroke.room.astype(np.float32), 0.5)
            * stroke.room
        )
        coarse_mm = max(6.0, 0.25 * stroke.diameter_mm)
        inner = hu + float(rng.uniform(*kind.texture_hu)) * smooth_noise(
            stroke.distance.shape, self.space, coarse_mm, rng
        )
        inner = _add_structure(inner, stroke, hu, rng, self.space)
        grain = np.clip(host.grain, -3 * host.noise - 5, 3 * host.noise + 5)
        painted = under + alpha * (inner + 1.15 * grain - under)
        mask = np.zeros(own.shape, np.bool_)
        mask[box] = (alpha >= 0.5) & stroke.room
        if mask[box].sum() < (_LEAST_VOXELS if kind.tumor else 1):
            return None
        contrast = float((painted - under)[mask[box]].mean())
        difference = float(painted[mask[box]].mean()) - host.hu
        if kind.tumor and abs(difference) < 0.8 * LEAST_HU:
            return None
        self.image[box] = painted
        self.taken[box] |= ndimage.binary_dilation(mask[box])
        return Painted(kind, stroke.host, mask, contrast, stroke.diameter_mm)


@dataclass(frozen=True, eq=False)
class _Stroke:
    """One thing to paint: its kind, host and diameter, and where.

    Attributes:
        kind: Its kind.
        host: The organ's name.
        diameter_mm: Its diameter.
        box: The part of the window that holds it.
        distance: Distance in mm to its border, positive within, in the box.
        room: Voxels of the box that may be painted.
    """

    kind: Kind
    host: str
    diameter_mm: float
    box: tuple[slice, ...]
    distance: Float32Array
    room: MaskArray


@dataclass(frozen=True, eq=False)
class _HostLook:
    """How a host looks around what is painted.

    Attributes:
        hu: Median HU.
        mottled: Deviation of its own texture, in HU.
        noise: Deviation of the scan's noise, in HU.
        grain: That noise and the edges of small structures, in the box.
    """

    hu: float
    mottled: float
    noise: float
    grain: Float32Array


def _host_look(
    image: Float32Array, own: MaskArray, box: tuple[slice, ...], distance: Float32Array
) -> _HostLook:
    under = image[box]
    near = under[own[box] & (distance > -6)] if own[box].any() else image[own]
    near = near if near.size > 8 else image[own]
    around = float(np.median(near))
    mottled = 1.4826 * float(np.median(np.abs(near - around)))
    grain = under - ndimage.gaussian_filter(under, 1.0)
    noise = 8.0
    if own[box].any():
        noise = 1.4826 * float(np.median(np.abs(grain[own[box]]))) / 0.9
    return _HostLook(around, mottled, noise, grain)


def _inner_hu(kind: Kind, phase: Phase, around: float, rng: np.random.Generator) -> float:
    if kind.absolute_hu is not None:
        return float(rng.uniform(*kind.absolute_hu))
    low, high = (kind.contrast_hu or {}).get(phase, (0.0, 0.0))
    return around + float(rng.uniform(low, high))


def _visible(hu: float, host: _HostLook, diameter_mm: float, space: Float64Array) -> float | None:
    """A tumor's HU, moved away from its host's if an eye would not see it.

    Returns:
        None if it would have to be moved very far.
    """
    pixels = np.pi / 4 * diameter_mm**2 / float(space[1] * space[2])
    least = max(LEAST_HU, ROSE * host.noise / np.sqrt(max(pixels, 1.0)), MOTTLED * host.mottled)
    contrast = hu - host.hu
    if abs(contrast) < least:
        contrast = np.sign(contrast or -1) * least * 1.1
    return None if abs(contrast) > 130 else host.hu + float(contrast)


def _add_structure(
    inner: Float32Array,
    stroke: _Stroke,
    hu: float,
    rng: np.random.Generator,
    space: Float64Array,
) -> Float32Array:
    """Add a rim, necrosis and calcium to a lesion's HU, as often as its kind has them."""
    kind, distance, radius = stroke.kind, stroke.distance, stroke.diameter_mm / 2
    if rng.random() < kind.rim[0]:
        width = float(rng.uniform(1.5, 4.0))
        inner = inner + float(rng.uniform(*kind.rim[1])) * np.exp(
            -(((distance - width / 2) / width) ** 2)
        )
    if stroke.diameter_mm > 20 and rng.random() < kind.necrosis:
        depth = float(rng.uniform(0.25, 0.6)) * radius
        border = 0.25 * radius * smooth_noise(distance.shape, space, 0.5 * radius, rng)
        share = np.clip((distance - depth + border) / 4.0 + 0.5, 0, 1)
        inner = inner + share * (min(float(rng.uniform(5, 35)), hu - 5) - inner)
    if rng.random() < kind.calcification:
        spots = smooth_noise(distance.shape, space, 5.0, rng) > rng.uniform(2.0, 2.6)
        inner = np.where(spots, rng.uniform(120, 350), inner)
    return np.asarray(inner, np.float32)
