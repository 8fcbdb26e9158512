"""Random patients: build, organs, contrast phase, lesions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Phase = Literal["none", "arterial", "portal"]
PHASES: tuple[Phase, ...] = ("none", "arterial", "portal")
HOSTS = ("liver", "right_kidney", "left_kidney", "pancreas", "stomach", "colon")
_HOST_SHARES = (0.3, 0.15, 0.15, 0.2, 0.08, 0.12)
# Probability that the host of a further lesion is drawn anew, as in cohorts of many cancers.
_OTHER_HOST = 0.4
REMOVABLE = ("spleen", "right_kidney", "left_kidney", "gallbladder")
FILLINGS = ("fluid", "food", "contrast")


@dataclass(frozen=True)
class Patient:
    """What distinguishes one patient from another.

    Attributes:
        seed: Seed of everything that is drawn later for this patient.
        sex: ``f`` or ``m``.
        scale: Size relative to the model anatomy along (x, y, z).
        pose_deg: Rotation of the patient about x, y and z.
        fat_mm: Thickness of the subcutaneous fat at the flank, in mm.
        visceral: Amount of fat between the organs, 0 to 1.
        muscle: Thickness of the muscles relative to the model anatomy.
        phase: Contrast phase.
        gallbladder: Whether the patient has a gallbladder.
        lesions: Host organ of each lesion, in the order in which they are made.
        steatosis: HU by which fat lowers the liver.
        oral: Whether the patient drank positive contrast.
        removed: The organ that a surgeon removed, or none.
        ascites: Whether there is free fluid between the organs.
        filling: What the stomach is full of, a tissue; empty for a stomach as usual.
        cortex_hu: HU by which the cortex of the kidneys is brighter than usual.
    """

    seed: int
    sex: str
    scale: tuple[float, float, float]
    pose_deg: tuple[float, float, float]
    fat_mm: float
    visceral: float
    muscle: float
    phase: Phase
    gallbladder: bool
    lesions: tuple[str, ...]
    steatosis: float
    oral: bool
    removed: tuple[str, ...] = ()
    ascites: bool = False
    filling: str = ""
    cortex_hu: float = 0.0


def draw_patient(
    rng: np.random.Generator, *, tumor: bool | None = None, unusual: float = 0.0
) -> Patient:
    """Draw a patient at random.

    Args:
        rng: The random generator.
        tumor: Whether there must (True) or must not (False) be a lesion; None for chance.
        unusual: Probability of each unusual finding, see :func:`with_unusual_findings`.
    """
    sex = "f" if rng.random() < 0.5 else "m"
    obesity = float(rng.beta(2, 2.6))
    base = 0.95 if sex == "f" else 1.02
    scale = (
        base * float(rng.normal(0.93 + 0.10 * obesity, 0.035)),
        base * float(rng.normal(0.91 + 0.22 * obesity, 0.04)),
        base * float(rng.normal(1.0, 0.045)),
    )
    has_tumor = bool(rng.random() < 0.5) if tumor is None else tumor
    count = int(rng.choice([1, 1, 2, 3])) if has_tumor else 0
    first = str(rng.choice(HOSTS, p=_HOST_SHARES))
    seed = int(rng.integers(2**31))
    patient = Patient(
        seed=seed,
        sex=sex,
        scale=scale,
        pose_deg=(float(rng.normal(0, 1.5)), float(rng.normal(0, 1.5)), float(rng.normal(0, 2.5))),
        fat_mm=float(np.clip((8 if sex == "m" else 12) + 30 * obesity + rng.normal(0, 3), 4, 50)),
        visceral=float(
            np.clip(obesity + (0.15 if sex == "m" else -0.1) + rng.normal(0, 0.15), 0, 1)
        ),
        muscle=float(np.clip(rng.normal(1.0 if sex == "m" else 0.85, 0.12), 0.55, 1.3)),
        phase=PHASES[int(rng.choice(3, p=[0.27, 0.18, 0.55]))],
        gallbladder=bool(rng.random() < 0.88),
        lesions=_hosts(seed, first, count),
        steatosis=float(max(0.0, rng.normal(-6, 16))),
        oral=bool(rng.random() < 0.2),
    )
    return with_unusual_findings(patient, unusual) if unusual else patient


def with_unusual_findings(patient: Patient, chance: float) -> Patient:
    """Draw a removed organ, ascites, a full stomach and a bright renal cortex.

    They are drawn separately, so that nothing else of the patient depends on them.

    Args:
        patient: The patient without them.
        chance: Probability of each, 0 to 1.
    """
    rng = np.random.default_rng([patient.seed, 6])
    removed, ascites, full, bright = rng.random(4) < chance
    return replace(
        patient,
        removed=(str(rng.choice(REMOVABLE)),) if removed else (),
        ascites=bool(ascites),
        filling=str(rng.choice(FILLINGS)) if full else "",
        cortex_hu=float(rng.uniform(20, 90)) if bright and patient.phase != "none" else 0.0,
    )


def _hosts(seed: int, first: str, count: int) -> tuple[str, ...]:
    """The host of each lesion, drawn separately so that nothing else depends on it."""
    rng = np.random.default_rng([seed, 2])
    others = [
        str(rng.choice(HOSTS, p=_HOST_SHARES)) if rng.random() < _OTHER_HOST else first
        for _ in range(count - 1)
    ]
    return (first, *others) if count else ()
