"""Scans with random measurements and a Dice that follows from them."""

from __future__ import annotations

import numpy as np

from nnstudent.quality.features import CaseFeatures, OrganFeatures
from nnstudent.quality.fit import KnownCase

ORGANS = ("liver", "spleen", "aorta", "gallbladder")
PLACES = {
    "liver": (60.0, 10.0, 40.0),
    "spleen": (-80.0, -20.0, 40.0),
    "aorta": (-5.0, -30.0, 0.0),
    "gallbladder": (50.0, 50.0, 10.0),
}


def known_case(
    rng: np.random.Generator, *, worse: float = 0.0, absent: tuple[str, ...] = ()
) -> KnownCase:
    """A scan in which Dice is the softmax Dice less something, and worse where organs are odd.

    Args:
        rng: Draws everything at random.
        worse: How much lower every Dice is than what the measurements tell.
        absent: Organs that are not found.
    """
    organs, dice = {}, {}
    middle = rng.normal(0, 20, 3)
    for k, name in enumerate(ORGANS):
        if name in absent:
            continue
        soft = float(np.clip(rng.beta(8 - k, 1 + 0.5 * k), 0.05, 0.99))
        error = rng.normal(0, 0.02 + 0.15 * (1 - soft))
        dice[name] = float(np.clip(1.1 * soft - 0.12 - worse + error, 0, 1))
        right, front, up = PLACES[name] + middle + rng.normal(0, 5, 3)
        organs[name] = OrganFeatures(
            volume_ml=float(np.exp(rng.normal(5 - k, 0.2))),
            soft_dice=soft,
            confidence=soft + 0.01,
            entropy=1 - soft,
            pieces=1.0,
            touches_border=0.0,
            mean_hu=float(rng.normal(100, 10)),
            sd_hu=float(rng.uniform(10, 20)),
            right_mm=float(right),
            front_mm=float(front),
            up_mm=float(up),
        )
    features = CaseFeatures(
        organs,
        absent=absent,
        slice_mm=5.0,
        center_mm=(float(middle[0]), float(middle[1]), float(middle[2])),
        extent_mm=(200.0, 200.0, 150.0),
    )
    return KnownCase(features, dice)


def known_cases(seed: int, count: int, *, worse: float = 0.0) -> list[KnownCase]:
    """Several of them."""
    rng = np.random.default_rng(seed)
    return [known_case(rng, worse=worse) for _ in range(count)]
