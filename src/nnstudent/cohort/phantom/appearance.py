"""What tissues look like: HU by contrast phase and texture, as data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnstudent.cohort.phantom.patient import Patient

# mean HU without contrast, in the arterial and in the portal phase; patient-to-patient deviation; fine and coarse texture (deviations)
TISSUES: dict[str, tuple[float, float, float, float, float, float]] = {
    "air": (-1000, -1000, -1000, 0, 0, 0),
    "table": (-480, -480, -480, 60, 5, 0),
    "fat": (-108, -108, -106, 4, 3, 4),
    "skin": (5, 5, 5, 10, 0, 0),
    "muscle": (50, 55, 62, 4, 7, 5),
    "bone": (560, 570, 580, 80, 60, 50),
    "marrow": (165, 170, 180, 40, 35, 20),
    "disc": (75, 75, 80, 8, 5, 5),
    "cord": (30, 32, 34, 3, 3, 3),
    "lung": (-840, -830, -825, 30, 22, 25),
    "heart": (42, 230, 135, 12, 3, 5),
    "diaphragm": (45, 52, 58, 4, 3, 0),
    "liver": (58, 72, 108, 8, 3, 3),
    "spleen": (48, 120, 118, 7, 3, 2),
    "kidney": (33, 165, 165, 15, 4, 6),
    "medulla": (31, 75, 160, 18, 4, 6),
    "pancreas": (38, 95, 88, 10, 8, 6),
    "aorta": (42, 310, 150, 20, 2, 2),
    "vein": (40, 75, 140, 14, 2, 3),
    "portal": (41, 110, 160, 15, 2, 2),
    "adrenal": (18, 62, 70, 10, 4, 3),
    "bile": (8, 8, 9, 5, 1, 1),
    "gallbladder": (30, 45, 55, 6, 2, 2),
    "esophagus": (36, 55, 65, 6, 5, 5),
    "stomach": (38, 72, 82, 8, 5, 5),
    "duodenum": (38, 75, 82, 8, 6, 8),
    "bowel": (36, 78, 84, 9, 6, 8),
    "fluid": (14, 14, 15, 10, 3, 5),
    "food": (38, 38, 38, 18, 18, 14),
    "contrast": (220, 220, 220, 60, 8, 10),
    "stool": (10, 10, 12, 25, 70, 60),
    "gas": (-960, -960, -960, 10, 4, 4),
    "bladder": (6, 7, 12, 5, 1, 2),
    "pelvic": (45, 65, 85, 10, 6, 8),
    "cyst": (6, 6, 7, 5, 1, 1),
}  # fmt: skip

# HU of a lesion relative to its host without contrast, arterial, portal; deviation; fine and coarse texture
LESIONS: dict[str, tuple[float, float, float, float, float, float]] = {
    "liver": (-14, 5, -42, 14, 4, 10),
    "right_kidney": (2, -45, -75, 25, 8, 25),
    "left_kidney": (2, -45, -75, 25, 8, 25),
    "pancreas": (-6, -42, -32, 10, 5, 8),
    "stomach": (2, -5, -5, 10, 5, 8),
    "colon": (4, 0, 2, 10, 5, 8),
}
_PHASES = ("none", "arterial", "portal")
_HOST_TISSUE = {"right_kidney": "kidney", "left_kidney": "kidney", "colon": "bowel"}


@dataclass(frozen=True)
class Look:
    """How a tissue is drawn: mean HU, and the deviation of its fine and coarse texture in HU."""

    hu: float
    fine: float
    coarse: float


def looks(patient: Patient) -> dict[str, Look]:
    """The look of every tissue in this patient, and of ``lesion_<host>``."""
    rng = np.random.default_rng([patient.seed, 1])
    phase = _PHASES.index(patient.phase)
    out = {}
    for name, row in TISSUES.items():
        hu = row[phase] + row[3] * float(np.clip(rng.normal(), -2.2, 2.2))
        if phase and name in ("aorta", "heart", "portal", "vein", "kidney", "medulla", "spleen"):
            hu += 0.12 * float(rng.normal()) * (hu - row[0])
        out[name] = Look(max(hu, -1000.0), row[4], row[5])
    liver = out["liver"]
    out["liver"] = Look(liver.hu - min(patient.steatosis, 45.0) * float(patient.steatosis > 0), liver.fine, liver.coarse)
    for host, row in LESIONS.items():
        base = out[_HOST_TISSUE.get(host, host)].hu
        out[f"lesion_{host}"] = Look(max(base + row[phase] + row[3] * float(rng.normal()), 15.0), row[4], row[5])
    return out
