"""Paint lesions into the organs of a window, and look-alikes that are none.

The idea is of Hu et al., "Label-free liver tumor segmentation", CVPR 2023 (SynTumor): a network that has only seen painted tumors
finds real ones. What is painted is in :mod:`nnstudent.training.augment.physiology`; here is how. Pure numpy, in HU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nnstudent.training.augment.physiology import HOST_WEIGHTS, LESIONS, LOOK_ALIKES, Kind, Phase
from nnstudent.volume import Spacing

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

LEAST_HU = 10.0  # of contrast that an eye notices, however large and smooth the lesion
MOTTLED = 0.8  # contrast over the deviation of the host itself: cortex and medulla, lobules and fat
ROSE = 4.0  # contrast over noise, times the square root of the area in pixels: what an eye needs (Rose criterion)
_LEAST_HOST_ML = 0.3  # of an organ in the window, for it to bear anything
_REACH = 1.35  # half a box over the lesion's radius
_TRIES = 4
_LEAST_VOXELS = 6  # of a tumor: anything smaller on this grid is noise


@dataclass(frozen=True)
class Painted:
    """What was painted.

    Attributes:
        kind: Its kind.
        host: The organ's name.
        mask: Its voxels in the window, (z, y, x).
        contrast_hu: Mean HU in it less what was there.
        diameter_mm: Diameter that was drawn.
    """

    kind: Kind
    host: str
    mask: Mask
    contrast_hu: float
    diameter_mm: float


def paint(
    image: Array,
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
        organs: Value in ``labels`` of each organ that may bear something; every other value above 0 is left as it is.
        rng: Draws everything.
        spacing_mm: (z, y, x).
        lesions: How many tumors to paint.
        look_alikes: How many things that are no tumors.
        kinds: From which.

    Returns:
        What was painted, in order; fewer where there is no room or what was drawn could not be seen.
    """
    least = _LEAST_HOST_ML * 1000 / float(np.prod(spacing_mm))
    counts = np.bincount(labels[labels > 0], minlength=256)  # -1 is padding
    there = {name: value for name, value in organs.items() if counts[value] >= least}
    if not there:
        return []
    phase = phase_of(image, labels, organs)
    taken = np.zeros(labels.shape, np.bool_)
    done: list[Painted] = []
    for tumor, wanted in ((False, look_alikes), (True, lesions)):
        own = [kind for kind in kinds if kind.tumor is tumor]
        hosts = [name for name in there if any(name in kind.hosts for kind in own)]
        left = wanted if hosts else 0
        while left > 0:
            name = hosts[_draw([HOST_WEIGHTS.get(host, 1.0) for host in hosts], rng)]
            kind = own[_draw([one.hosts.get(name, 0.0) for one in own], rng)]
            for _ in range(min(left, int(rng.integers(1, kind.most + 1)))):
                left -= 1
                one = _paint_one(
                    image,
                    labels,
                    there[name],
                    kind,
                    name,
                    phase,
                    rng,
                    spacing_mm=spacing_mm,
                    taken=taken,
                )
                if one is not None:
                    done.append(one)
    return done


def _draw(weights: Sequence[float], rng: np.random.Generator) -> int:
    """The number of one of several, each as likely as its weight says."""
    return int(rng.choice(len(weights), p=np.array(weights) / sum(weights)))


def phase_of(image: Array, labels: npt.NDArray[np.integer], organs: Mapping[str, int]) -> Phase:
    """Contrast phase, by how bright aorta and kidneys are, as far as the window has them; portal where nothing tells."""
    hu = {}
    for name in ("aorta", "right_kidney", "left_kidney", "liver"):
        inside = image[labels == organs[name]] if name in organs else image[:0]
        if inside.size > 50:
            hu[name] = float(np.median(inside))
    if "aorta" in hu:
        return "arterial" if hu["aorta"] > 210 else "portal" if hu["aorta"] > 90 else "none"
    kidney = max(hu.get("right_kidney", -1000.0), hu.get("left_kidney", -1000.0))
    if kidney > -1000:
        return "portal" if kidney > 100 else "none"
    return "none" if hu.get("liver", 100.0) < 75 else "portal"


def _paint_one(
    image: Array,
    labels: npt.NDArray[np.integer],
    value: int,
    kind: Kind,
    host: str,
    phase: Phase,
    rng: np.random.Generator,
    *,
    spacing_mm: Spacing,
    taken: Mask,
) -> Painted | None:
    space = np.array(spacing_mm, np.float64)
    own = labels == value
    voxels = np.flatnonzero(own)
    thickness = 2 * (3 * len(voxels) * float(np.prod(space)) / (4 * np.pi)) ** (
        1 / 3
    )  # of a ball of that volume
    outward = rng.random() < kind.exophytic
    most = min(kind.size_mm[1], (1.4 if outward else 0.9) * thickness)
    if kind.shape == "ball" and kind.size_mm[0] > most:
        return None
    for _ in range(_TRIES):
        diameter = float(
            np.exp(rng.uniform(np.log(kind.size_mm[0]), np.log(max(most, kind.size_mm[0] + 0.1))))
        )
        centre = np.array(np.unravel_index(voxels[int(rng.integers(len(voxels)))], labels.shape))
        reach = _REACH * diameter / 2 * (2.5 if kind.shape == "tube" else 1.15)
        box = tuple(
            slice(max(0, int(c - np.ceil(reach / mm))), min(size, int(c + np.ceil(reach / mm)) + 1))
            for c, mm, size in zip(centre, space, labels.shape, strict=True)
        )
        sdf = _shape(
            kind,
            diameter,
            (centre - [part.start for part in box]) * space,
            [s.stop - s.start for s in box],
            space,
            rng,
        )
        # a lesion displaces what its host encloses, such as the fat of a kidney's sinus
        room = own[box] | (ndimage.binary_closing(own[box], iterations=3) & (labels[box] == 0))
        room |= _free(labels[box], image[box]) if outward else False
        inside = (sdf > 0) & room & ~taken[box]
        if inside.sum() < 2 or (
            not outward and inside.sum() < 0.4 * (sdf > 0).sum() and kind.tumor
        ):
            continue
        return _blend(
            image,
            box,
            sdf,
            room & ~taken[box],
            own,
            kind,
            host,
            phase,
            diameter,
            rng,
            space=space,
            taken=taken,
        )
    return None


def _free(labels: npt.NDArray[np.integer], image: Array) -> Mask:
    """Where what grows out of an organ may go: fat and soft tissue without a label, neither lung nor bone nor gas."""
    free: Mask = (labels == 0) & (image > -140) & (image < 90)
    return free


def _shape(
    kind: Kind,
    diameter: float,
    centre: npt.NDArray[np.float64],
    size: Sequence[int],
    space: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> Array:
    """About the distance in mm to the border of a shape, positive within, on a box of so many voxels."""
    z, y, x = (
        np.arange(n, dtype=np.float32) * mm - c
        for n, mm, c in zip(size, space, centre, strict=True)
    )
    grid = np.stack(np.meshgrid(z, y, x, indexing="ij"))
    radius = diameter / 2
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rough = _smooth(size, space, max(radius, 4.0) * rng.uniform(0.5, 0.9), rng)
    if kind.shape == "tube":
        along = np.tensordot(turn[0], grid, 1) + rng.uniform(0.1, 0.3) * radius * rough * 4
        away = np.sqrt(np.maximum((grid**2).sum(0) - along**2, 0))
        return np.asarray(radius * (1 + 0.2 * rough) - away, np.float32)
    if kind.shape == "wedge":
        sides = [np.tensordot(turn[i] * rng.uniform(0.7, 1.6), grid, 1) for i in range(2)]
        third = np.tensordot(turn[2], grid, 1)
        depth = (
            radius
            - np.maximum(np.maximum(np.abs(sides[0]), np.abs(sides[1])), np.abs(third))
            - 0.3 * third
        )
        return np.asarray(depth + 0.2 * radius * rough, np.float32)
    found = np.full(tuple(size), -np.inf, np.float32)
    for number in range(int(rng.integers(2, 5)) if rng.random() < kind.lobed else 1):
        stretch = rng.uniform(0.75, 1.25, 3)
        stretch /= np.prod(stretch) ** (1 / 3)
        shift = rng.normal(size=3) * (0.45 * radius if number else 0.0)
        own = radius * (rng.uniform(0.45, 0.75) if number else rng.uniform(0.85, 1.0))
        turned = (
            np.tensordot(turn, grid - shift[:, None, None, None].astype(np.float32), 1)
            / stretch[:, None, None, None]
        )
        ball = np.asarray(own - np.sqrt((turned**2).sum(0)), np.float32)
        found = np.maximum(found, ball)
    return np.asarray(found + rng.uniform(0.05, 0.22) * radius * rough, np.float32)


def _smooth(
    size: Sequence[int], space: npt.NDArray[np.float64], width_mm: float, rng: np.random.Generator
) -> Array:
    """Noise of deviation 1 that changes over so many mm: coarse noise, interpolated."""
    knots = [max(2, int(np.ceil(n * mm / width_mm)) + 2) for n, mm in zip(size, space, strict=True)]
    coarse = rng.normal(size=knots).astype(np.float32)
    for axis, (n, knot) in enumerate(zip(size, knots, strict=True)):
        at = np.linspace(0, knot - 1.001, n)
        low = at.astype(int)
        shape = [1, 1, 1]
        shape[axis] = n
        share = (at - low).astype(np.float32).reshape(shape)
        share = share * share * (3 - 2 * share)
        coarse = coarse.take(low, axis) * (1 - share) + coarse.take(low + 1, axis) * share
    return np.asarray(coarse / max(float(coarse.std()), 1e-3), np.float32)


def _blend(
    image: Array,
    box: tuple[slice, ...],
    sdf: Array,
    room: Mask,
    own: Mask,
    kind: Kind,
    host: str,
    phase: Phase,
    diameter: float,
    rng: np.random.Generator,
    *,
    space: npt.NDArray[np.float64],
    taken: Mask,
) -> Painted | None:
    under = image[box]
    near = under[own[box] & (sdf > -6)] if own[box].any() else image[own]
    near = near if near.size > 8 else image[own]
    around = float(np.median(near))
    mottled = 1.4826 * float(np.median(np.abs(near - around)))
    soft = ndimage.gaussian_filter(under, 1.0)
    grain = under - soft  # the scan's own noise, and edges of what is small
    sd = 1.4826 * float(np.median(np.abs(grain[own[box]]))) / 0.9 if own[box].any() else 8.0
    hu = _inner_hu(kind, phase, around, rng)
    if kind.tumor:
        seen = _visible(hu, around, sd, mottled, diameter, space)
        if seen is None:
            return None
        hu = seen
    edge = float(rng.uniform(*kind.edge_mm)) + 0.3 * float(space.min())
    alpha = (
        np.clip(sdf / edge + 0.5, 0, 1)
        * ndimage.gaussian_filter(room.astype(np.float32), 0.5)
        * room
    )
    inner = hu + float(rng.uniform(*kind.texture_hu)) * _smooth(
        sdf.shape, space, max(6.0, 0.25 * diameter), rng
    )
    inner = _inside(inner, sdf, kind, diameter, hu, rng, space)
    grain = np.clip(grain, -3 * sd - 5, 3 * sd + 5)
    painted = under + alpha * (inner + 1.15 * grain - under)
    mask = np.zeros(own.shape, np.bool_)
    mask[box] = (alpha >= 0.5) & room
    if mask[box].sum() < (_LEAST_VOXELS if kind.tumor else 1):
        return None
    contrast = float((painted - under)[mask[box]].mean())
    difference = float(painted[mask[box]].mean()) - around
    if kind.tumor and abs(difference) < 0.8 * LEAST_HU:
        return None
    image[box] = painted
    taken[box] |= ndimage.binary_dilation(mask[box])
    return Painted(kind, host, mask, contrast, diameter)


def _inner_hu(kind: Kind, phase: Phase, around: float, rng: np.random.Generator) -> float:
    if kind.absolute_hu is not None:
        return float(rng.uniform(*kind.absolute_hu))
    low, high = (kind.contrast_hu or {}).get(phase, (0.0, 0.0))
    return around + float(rng.uniform(low, high))


def _visible(
    hu: float,
    around: float,
    sd: float,
    mottled: float,
    diameter: float,
    space: npt.NDArray[np.float64],
) -> float | None:
    """The HU, farther from the host's where an eye would not see it; None where it would have to be very far."""
    pixels = np.pi / 4 * diameter**2 / float(space[1] * space[2])
    least = max(LEAST_HU, ROSE * sd / np.sqrt(max(pixels, 1.0)), MOTTLED * mottled)
    contrast = hu - around
    if abs(contrast) < least:
        contrast = np.sign(contrast or -1) * least * 1.1
    return None if abs(contrast) > 130 else around + float(contrast)


def _inside(
    inner: Array,
    sdf: Array,
    kind: Kind,
    diameter: float,
    hu: float,
    rng: np.random.Generator,
    space: npt.NDArray[np.float64],
) -> Array:
    """Rim, necrosis and calcium laid into a lesion's HU."""
    radius = diameter / 2
    if rng.random() < kind.rim[0]:
        width = float(rng.uniform(1.5, 4.0))
        inner = inner + float(rng.uniform(*kind.rim[1])) * np.exp(
            -(((sdf - width / 2) / width) ** 2)
        )
    if diameter > 20 and rng.random() < kind.necrosis:
        depth = float(rng.uniform(0.25, 0.6)) * radius
        share = np.clip(
            (sdf - depth + 0.25 * radius * _smooth(sdf.shape, space, 0.5 * radius, rng)) / 4.0
            + 0.5,
            0,
            1,
        )
        inner = inner + share * (min(float(rng.uniform(5, 35)), hu - 5) - inner)
    if rng.random() < kind.calcification:
        spots = _smooth(sdf.shape, space, 5.0, rng) > rng.uniform(2.0, 2.6)
        inner = np.where(spots, rng.uniform(120, 350), inner)
    return np.asarray(inner, np.float32)
