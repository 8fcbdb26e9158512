"""The lesions that an organ can bear and their appearance on CT, as data, and their look-alikes.

The figures are ranges that textbooks of abdominal radiology agree on, widened: a network has to
find lesions, not to name them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nnstudent.inference.labels.phase import Phase

Range = tuple[float, float]


@dataclass(frozen=True)
class Kind:
    """A kind of lesion, or of look-alike.

    Attributes:
        name: Its name.
        hosts: The organs that bear it, each with its frequency relative to other kinds there.
        contrast_hu: HU relative to the host, by contrast phase; None if ``absolute_hu`` is set.
        absolute_hu: HU regardless of the host's, for fluid and fat.
        size_mm: Diameter, drawn uniformly on a logarithmic scale.
        most: The largest number of them in one window.
        edge_mm: Width of the border between lesion and host.
        texture_hu: Deviation of the coarse texture within it.
        lobed: Probability of several lobes.
        exophytic: Probability that it grows out of its host.
        rim: Probability of a rim, and its HU relative to the lesion.
        necrosis: Probability of a necrotic center if it is larger than 20 mm.
        calcification: Probability of calcium in it.
        shape: ``ball``, ``tube`` (a vessel), or ``wedge`` (under the capsule, straight borders).
        tumor: Whether it is a tumor; a look-alike keeps the label of its host.
    """

    name: str
    hosts: Mapping[str, float]
    contrast_hu: Mapping[Phase, Range] | None = None
    absolute_hu: Range | None = None
    size_mm: Range = (4.0, 120.0)
    most: int = 1
    edge_mm: Range = (1.5, 6.0)
    texture_hu: Range = (1.0, 8.0)
    lobed: float = 0.25
    exophytic: float = 0.0
    rim: tuple[float, Range] = (0.0, (0.0, 0.0))
    necrosis: float = 0.0
    calcification: float = 0.0
    shape: Literal["ball", "tube", "wedge"] = "ball"
    tumor: bool = True


def _phases(none: Range, arterial: Range, portal: Range) -> dict[Phase, Range]:
    return {"none": none, "arterial": arterial, "portal": portal}


# How often an organ is drawn to bear something, relative to others in the window; otherwise once.
HOST_WEIGHTS: dict[str, float] = {
    "liver": 3.0,
    "right_kidney": 4.0,
    "left_kidney": 4.0,
    "pancreas": 1.5,
}

_KIDNEYS = {"right_kidney": 1.0, "left_kidney": 1.0}
_ADRENALS = {"right_adrenal_gland": 1.0, "left_adrenal_gland": 1.0}

LESIONS: tuple[Kind, ...] = (
    Kind(
        "metastasis",
        {"liver": 4.0, "spleen": 0.6, "pancreas": 0.3} | dict.fromkeys(_KIDNEYS, 0.15),
        _phases((-35, -10), (-55, -12), (-75, -15)),
        most=4,
        rim=(0.3, (8, 30)),
        necrosis=0.35,
        calcification=0.06,
    ),
    Kind(
        "hepatocellular carcinoma",
        {"liver": 1.2},
        _phases((-25, -8), (15, 60), (-40, -10)),
        size_mm=(8, 120),
        most=2,
        rim=(0.35, (10, 35)),
        necrosis=0.3,
        exophytic=0.25,
        texture_hu=(3, 12),
    ),
    Kind(
        "cholangiocarcinoma",
        {"liver": 0.6},
        _phases((-30, -10), (-45, -12), (-50, -12)),
        size_mm=(12, 110),
        edge_mm=(3, 9),
        lobed=0.6,
        rim=(0.4, (8, 25)),
    ),
    Kind(
        "renal cell carcinoma",
        dict.fromkeys(_KIDNEYS, 1.0),
        _phases((-18, 18), (-90, 40), (-95, -25)),
        size_mm=(8, 100),
        exophytic=0.45,
        texture_hu=(3, 16),
        necrosis=0.35,
        rim=(0.2, (10, 30)),
        calcification=0.1,
    ),
    Kind(
        "pancreatic carcinoma",
        {"pancreas": 1.0},
        _phases((-18, -8), (-60, -18), (-50, -14)),
        size_mm=(8, 60),
        edge_mm=(3, 8),
        exophytic=0.3,
        necrosis=0.15,
    ),
    Kind(
        "neuroendocrine tumor",
        {"pancreas": 0.3, "duodenum": 0.15},
        _phases((-12, 12), (20, 60), (12, 40)),
        size_mm=(5, 40),
        exophytic=0.2,
    ),
    Kind(
        "adrenal tumor",
        dict.fromkeys(_ADRENALS, 0.5),
        _phases((-25, 25), (-40, 30), (-45, 25)),
        size_mm=(10, 110),
        exophytic=1.0,
        necrosis=0.4,
        texture_hu=(3, 14),
        calcification=0.12,
    ),
    Kind(
        "gastric carcinoma",
        {"stomach": 0.5, "esophagus": 0.1},
        _phases((-6, 18), (-20, 35), (-25, 30)),
        size_mm=(10, 70),
        exophytic=0.4,
        edge_mm=(2, 7),
        lobed=0.5,
    ),
    Kind(
        "gallbladder carcinoma",
        {"gallbladder": 0.15},
        _phases((15, 35), (30, 70), (30, 80)),
        size_mm=(8, 50),
        exophytic=0.3,
    ),
)

LOOK_ALIKES: tuple[Kind, ...] = (
    Kind(
        "cyst",
        {"liver": 1.0, "spleen": 0.2} | dict.fromkeys(_KIDNEYS, 0.5),
        absolute_hu=(-5, 18),
        size_mm=(5, 70),
        most=3,
        edge_mm=(1.0, 3.0),
        texture_hu=(0.0, 1.0),
        lobed=0.05,
        exophytic=0.2,
        tumor=False,
    ),
    Kind(
        "focal fat",
        {"liver": 0.4},
        _phases((-40, -12), (-40, -12), (-45, -12)),
        size_mm=(10, 45),
        edge_mm=(4, 10),
        texture_hu=(0.0, 2.0),
        shape="wedge",
        tumor=False,
    ),
    Kind(
        "perfusion difference",
        {"liver": 0.5, "spleen": 0.3} | dict.fromkeys(_KIDNEYS, 0.2),
        _phases((-4, 4), (10, 50), (-20, 20)),
        size_mm=(15, 60),
        edge_mm=(4, 12),
        texture_hu=(0.0, 3.0),
        shape="wedge",
        tumor=False,
    ),
    Kind(
        "vessel",
        {"liver": 1.4, "spleen": 0.2, "pancreas": 0.2} | dict.fromkeys(_KIDNEYS, 0.2),
        _phases((-22, -6), (-25, 40), (20, 65)),
        size_mm=(3, 14),
        most=4,
        edge_mm=(1.5, 4.0),
        texture_hu=(0.0, 2.0),
        shape="tube",
        tumor=False,
    ),
    # Contrast reaches the liver's own veins last; until then they are dark beside the portal vein.
    Kind(
        "vein without contrast",
        {"liver": 1.2},
        _phases((-22, -6), (-35, -8), (-40, -8)),
        size_mm=(5, 22),
        most=4,
        edge_mm=(1.5, 6.0),
        texture_hu=(0.0, 4.0),
        shape="tube",
        tumor=False,
    ),
    Kind(
        "fissure or partial volume of fat",
        {"liver": 0.5, "spleen": 0.2, "pancreas": 0.3} | dict.fromkeys(_KIDNEYS, 0.2),
        _phases((-80, -15), (-90, -15), (-110, -20)),
        size_mm=(3, 8),
        most=2,
        edge_mm=(2.0, 5.0),
        texture_hu=(0.0, 4.0),
        shape="tube",
        tumor=False,
    ),
)
