"""Tissues as data: HU by contrast phase, and texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnstudent.phantom.patient import PHASES, Patient

# Mean HU without contrast, in the arterial and in the portal phase; standard deviation between
# patients; standard deviation of the fine and of the coarse texture.
TISSUES: dict[str, tuple[float, float, float, float, float, float]] = {
    "air": (-1000, -1000, -1000, 0, 0, 0),
    "table shell": (120, 120, 120, 120, 5, 0),
    "table foam": (-930, -930, -930, 25, 3, 0),
    "fat": (-108, -108, -106, 4, 4, 4),
    "mesentery": (-103, -102, -100, 5, 12, 7),
    "skin": (0, 0, 5, 10, 0, 0),
    "fascia": (10, 10, 15, 8, 0, 0),
    "muscle": (50, 54, 60, 5, 8, 7),
    "bone": (480, 485, 490, 80, 60, 50),
    "marrow": (165, 170, 180, 45, 30, 18),
    "cartilage": (110, 112, 115, 20, 20, 10),
    "disc": (75, 75, 80, 8, 5, 5),
    "epidural": (-30, -25, -20, 15, 5, 5),
    "cord": (28, 30, 32, 3, 3, 3),
    "lung": (-850, -840, -835, 25, 28, 25),
    "heart": (42, 260, 145, 14, 2, 3),
    "myocardium": (45, 100, 105, 8, 4, 4),
    "liver": (58, 72, 108, 8, 3, 3),
    "spleen": (48, 120, 118, 7, 3, 2),
    "kidney": (33, 165, 165, 15, 4, 6),
    "medulla": (31, 75, 160, 18, 4, 6),
    "pancreas": (38, 95, 88, 10, 11, 8),
    "aorta": (42, 310, 150, 20, 2, 2),
    "cava": (40, 80, 135, 15, 3, 9),
    "vein": (40, 75, 140, 14, 2, 3),
    "portal": (41, 110, 160, 15, 2, 2),
    "adrenal": (18, 62, 70, 10, 4, 3),
    "bile": (8, 8, 9, 5, 1, 1),
    "gallbladder": (30, 45, 55, 6, 2, 2),
    "esophagus": (36, 55, 65, 6, 5, 5),
    "stomach": (38, 72, 82, 8, 5, 5),
    "duodenum": (38, 75, 82, 8, 8, 8),
    "bowel": (36, 78, 84, 9, 8, 8),
    "fluid": (14, 14, 15, 10, 4, 6),
    "food": (38, 38, 38, 18, 20, 16),
    "contrast": (220, 220, 220, 60, 8, 10),
    "stool": (-20, -20, -18, 40, 90, 70),
    "gas": (-960, -960, -960, 10, 4, 4),
    "urine": (6, 7, 12, 5, 1, 2),
    "pelvic": (45, 65, 85, 10, 6, 8),
    "cyst": (6, 6, 7, 5, 1, 1),
    "necrosis": (22, 24, 26, 7, 4, 5),
    "stone": (450, 450, 450, 180, 30, 10),
}  # fmt: skip

# HU of a lesion relative to its host; columns as above.
LESIONS: dict[str, tuple[float, float, float, float, float, float]] = {
    "liver": (-14, 5, -42, 14, 4, 10),
    "right_kidney": (2, -45, -75, 25, 8, 25),
    "left_kidney": (2, -45, -75, 25, 8, 25),
    "pancreas": (-6, -42, -32, 10, 5, 8),
    "stomach": (2, -5, -5, 10, 5, 8),
    "colon": (4, 0, 2, 10, 5, 8),
}
LEAST_CONTRAST_HU = 20.0  # between a lesion and its host
_HOST_TISSUE = {"right_kidney": "kidney", "left_kidney": "kidney", "colon": "bowel"}


@dataclass(frozen=True)
class Tissue:
    """A tissue in one patient.

    Attributes:
        hu: Mean HU.
        fine: Standard deviation of the fine texture, in HU.
        coarse: Standard deviation of the coarse texture, in HU.
    """

    hu: float
    fine: float
    coarse: float


def draw_tissues(patient: Patient) -> dict[str, Tissue]:
    """Draw every tissue of a patient, including ``lesion_<host>`` for each host."""
    rng = np.random.default_rng([patient.seed, 1])
    phase = PHASES.index(patient.phase)
    out = {}
    for name, row in TISSUES.items():
        hu = row[phase] + row[3] * float(np.clip(rng.normal(), -2.2, 2.2))
        if phase and name in (
            "aorta",
            "heart",
            "portal",
            "vein",
            "cava",
            "kidney",
            "medulla",
            "spleen",
        ):
            hu += 0.12 * float(rng.normal()) * (hu - row[0])
        out[name] = Tissue(max(hu, -1000.0), row[4], row[5])
    liver = out["liver"]
    out["liver"] = Tissue(
        liver.hu - min(patient.steatosis, 45.0) * float(patient.steatosis > 0),
        liver.fine,
        liver.coarse,
    )
    kidney = out["kidney"]
    out["kidney"] = Tissue(kidney.hu + patient.cortex_hu, kidney.fine, kidney.coarse)
    for host, row in LESIONS.items():
        base = out[_HOST_TISSUE.get(host, host)].hu
        out[f"lesion_{host}"] = Tissue(
            _visible(base, base + row[phase] + row[3] * float(rng.normal())), row[4], row[5]
        )
    return out


def _visible(base: float, hu: float) -> float:
    """HU of a lesion, moved away from its host's if the contrast is too low to be seen.

    A lesion that nobody could delineate would teach nothing.
    """
    contrast = hu - base
    if abs(contrast) < LEAST_CONTRAST_HU:
        contrast = LEAST_CONTRAST_HU if contrast > 0 else -LEAST_CONTRAST_HU
    hu = base + contrast
    if hu >= 15.0:
        return hu
    # Below 15 HU a lesion would be a cyst; if 15 HU is too close to the host, it is brighter.
    if abs(15.0 - base) < LEAST_CONTRAST_HU:
        return max(15.0, base + LEAST_CONTRAST_HU)
    return 15.0
