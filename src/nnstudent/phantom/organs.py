"""The organs of the label table, without overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnstudent.phantom.build import Builder
from nnstudent.phantom.shapes import Controls, Field, Point, centerline, rotated_axes, union
from nnstudent.phantom.vessels import Vessels

_FULL = 1.15  # least size of a full stomach


@dataclass(frozen=True, eq=False)
class Organs:
    """The shapes of the organs.

    Attributes:
        fields: Shapes by name in the label table, without overlap.
        sinuses: Fat in the hilum of each kidney.
    """

    fields: dict[str, Field]
    sinuses: dict[str, Field]

    def __getitem__(self, name: str) -> Field:
        return self.fields[name]


def build_organs(b: Builder, v: Vessels) -> Organs:
    """All organs, without lesions."""
    fields: dict[str, Field] = {}
    sinuses: dict[str, Field] = {}
    for name, side, center in (
        ("right_kidney", 1, (67.0, -26.0, -36.0)),
        ("left_kidney", -1, (-70.0, -24.0, -24.0)),
    ):
        fields[name], sinuses[name] = _kidney(b, center, side)
    right, left = fields["right_kidney"], fields["left_kidney"]
    fields |= {
        "aorta": v.aorta,
        "inferior_vena_cava": v.cava,
        "right_adrenal_gland": _adrenal(b, (33, -2, 26), 1).minus(v.cava, 0.6).minus(right, 1),
        "left_adrenal_gland": _adrenal(b, (-35, 9, 14), -1).minus(v.aorta, 2).minus(left, 1),
        "esophagus": _esophagus(b),
        "stomach": _stomach(b),
        "duodenum": _duodenum(b),
        "pancreas": _pancreas(b),
        "gallbladder": _gallbladder(b),
        "liver": _liver(b),
        "spleen": _spleen(b),
    }
    _carve_solid(b, v, fields, sinuses)
    _carve_hollow(b, v, fields)
    removed = {*b.patient.removed, *(() if b.patient.gallbladder else ("gallbladder",))}
    for name in removed:
        del fields[name]
        sinuses.pop(name, None)
    return Organs(fields, sinuses)


def _carve_solid(
    b: Builder, v: Vessels, fields: dict[str, Field], sinuses: dict[str, Field]
) -> None:
    """Remove from liver, spleen and gallbladder what belongs to their neighbors."""
    liver, spleen, gallbladder = (fields[name] for name in ("liver", "spleen", "gallbladder"))
    for name in ("right_kidney", "left_kidney"):
        around = 0.5 + 3.5 * b.patient.visceral  # the fat around a kidney
        liver = liver.minus(fields[name], b.gap(liver) + around)
        spleen = spleen.minus(fields[name], b.gap(spleen) + around)
    for sinus in sinuses.values():
        liver = liver.minus(sinus, 2)
    fields["liver"] = liver = (
        liver.minus(v.cava, 0.2)
        .minus(v.aorta, 8)
        .minus(fields["esophagus"], 1)
        .minus(v.portal, 0.0)
        .minus(gallbladder, -1.5)
        .minus(fields["right_adrenal_gland"], 2.0)
    )
    fields["spleen"] = spleen.minus(fields["left_adrenal_gland"], 1)
    fields["gallbladder"] = gallbladder.minus(liver, -0.2)


def _carve_hollow(b: Builder, v: Vessels, fields: dict[str, Field]) -> None:
    """Remove from stomach, duodenum, pancreas and esophagus what belongs to their neighbors."""
    right, left = fields["right_kidney"], fields["left_kidney"]
    liver, spleen, adrenal = fields["liver"], fields["spleen"], fields["left_adrenal_gland"]
    stomach, duodenum, pancreas = (fields[name] for name in ("stomach", "duodenum", "pancreas"))
    fields["stomach"] = stomach = (
        stomach.inside(b.inside)
        .minus(liver, b.gap(stomach))
        .minus(spleen, b.gap(stomach))
        .minus(left, 2)
        .minus(v.aorta, 4)
        .minus(adrenal, 1)
    )
    fields["duodenum"] = duodenum = (
        duodenum.minus(stomach, -0.5)
        .minus(liver, b.gap(duodenum))
        .minus(right, b.gap(duodenum))
        .minus(fields["gallbladder"], 0.3)
        .minus(v.cava, 0.5)
        .minus(v.aorta, 0.8)
        .minus(v.portal, 0.5)
        .minus(v.arteries, 0.5)
    )
    fields["pancreas"] = (
        pancreas.minus(stomach, b.gap(pancreas))
        .minus(duodenum, 0.5 * b.gap(pancreas))
        .minus(left, 2)
        .minus(right, 2)
        .minus(v.portal, 0.2)
        .minus(v.arteries, 0.5)
        .minus(v.aorta, 3)
        .minus(v.cava, 0.8)
        .minus(spleen, 1)
        .minus(liver, 0.5)
        .minus(adrenal, 0.8)
    )
    fields["esophagus"] = fields["esophagus"].minus(v.aorta, 0.6).minus(stomach)


def _kidney(b: Builder, place: Point, side: int) -> tuple[Field, Field]:
    """A kidney and the fat of its sinus; ``side`` is 1 for the patient's right."""
    s, rng = b.space, b.rng
    c, k = b.near(place, 5), b.size(0.07)
    turn = rotated_axes(
        x_deg=float(rng.normal(12, 4)),
        y_deg=side * float(rng.normal(-13, 4)),
        z_deg=side * float(rng.normal(35, 7)),
    )
    whole = s.perturbed(
        s.ellipsoid(c, (30 * k, 26 * k, 55 * b.size(0.06)), turn, power=2.15), 1.3, side
    )
    inward = (c[0] - side * 17 * k, c[1] + 12 * k, c[2])
    sinus = s.perturbed(s.ellipsoid(inward, (16 * k, 11 * k, 23 * k), turn), 2.2, side + 1)
    sinus = s.perturbed(sinus, 1.5, 0)
    return whole.minus(sinus), sinus.inside(whole, -2)


def _adrenal(b: Builder, place: Point, side: int) -> Field:
    """Three thin sheets that meet in a vertical line: Y or λ in an axial slice."""
    joint = np.array(b.near(place, 2))
    k = b.size(0.1)
    sheets = []
    body = (-2, 10, 10) if side > 0 else (3, 11, 11)
    for dx, dy, reach in (body, (10, -15, 19), (-5, -17, 18)):
        end = joint + np.array([side * dx, dy, 0]) * k + np.append(b.rng.normal(0, 1.5, 2), 0)
        for step in np.linspace(0, 1, max(2, int(reach / 2))):
            x, y, z = joint + (end - joint) * step
            tall = (15 - 5 * step) * k
            sheets.append(
                centerline([[x, y, z - tall, 2.2 * k], [x - side * 2.0, y + 1, z + tall, 1.7 * k]])
            )
    return b.space.perturbed(b.space.tube(sheets), 0.3)


def _esophagus(b: Builder) -> Field:
    course: Controls = [
        [-3, 9, 210, 8],
        [-5, 14, 140, 8],
        [-9, 21, 105, 8],
        [-20, 26, 84, 8.5],
        [-34, 26, 76, 9],
    ]
    return b.space.perturbed(b.space.tube([b.vary(course, 1.5, 0.12)], flat=(0.88, 1.18, 1)), 0.6)


def _stomach(b: Builder) -> Field:
    """A J from below the left dome to the right of the midline, empty to overfilled."""
    fill = float(b.rng.choice([0.68, 0.85, 1.05, 1.2], p=[0.25, 0.3, 0.3, 0.15]))
    if b.patient.filling:
        fill = max(fill, _FULL)
    low = float(b.rng.choice([0, -12, -30], p=[0.5, 0.3, 0.2]))  # some hang deep
    course: Controls = [
        [-58, -6, 90, 28 * fill],
        [-66, 12, 72, 34 * fill],
        [-62, 40, 44, 30 * fill],
        [-46, 62, 16 + low / 2, 25 * fill],
        [-18, 72, -4 + low, 20 * fill],
        [12, 68, 0 + low / 2, 14 * fill + 3],
        [34, 54, 8, 9],
    ]
    bag = b.space.perturbed(b.space.perturbed(b.space.tube([b.vary(course, 3)]), 1.6, 2), 0.8, 0)
    fundus = b.space.ellipsoid((-64, 4, 76), (33 * fill, 42 * fill, 32 * fill))
    return union(
        [
            bag,
            b.space.perturbed(fundus, 1.2, 2),
            b.space.tube([centerline([[-30, 26, 78, 8], [-52, 18, 74, 12]])]),
        ],
        8,
    )


def _duodenum(b: Builder) -> Field:
    course: Controls = [
        [35, 52, 8, 10],
        [50, 42, 3, 12],
        [57, 30, -18, 12.5],
        [57, 22, -48, 12.5],
        [44, 20, -72, 12],
        [18, 33, -80, 11.5],
        [-10, 35, -76, 11],
        [-30, 32, -56, 11],
        [-36, 40, -32, 11],
    ]
    return b.space.perturbed(
        b.space.perturbed(b.space.tube([b.vary(course, 2.5, 0.12)], flat=(1, 1.12, 1)), 1.4, 1),
        0.7,
        0,
    )


def _pancreas(b: Builder) -> Field:
    droop = float(b.rng.normal(0, 8))  # the tail may lie high or low
    course: Controls = [
        [28, 24, -50, 7],
        [38, 28, -30, 14],
        [35, 34, -12, 14],
        [14, 46, -4, 9],
        [-10, 50, 4, 9.5],
        [-36, 33, 12 + droop / 2, 10.5],
        [-60, 10, 22 + droop, 11],
        [-80, -6, 32 + droop, 9],
    ]
    gland = b.space.tube([b.vary(course, 2.5, 0.12)], flat=(0.95, 0.95, 0.8))
    lobules = 0.8 + 0.7 * b.patient.visceral
    return b.space.perturbed(b.space.perturbed(gland, lobules, 0), 1.0, 1)


def _gallbladder(b: Builder) -> Field:
    course: Controls = [[50, 42, 14, 3.5], [60, 50, 4, 8], [72, 60, -12, 12.5], [80, 68, -28, 13]]
    return b.space.perturbed(b.space.tube([b.vary(course, 3.5, 0.2)]), 0.8, 2)


def _liver(b: Builder) -> Field:
    s = b.space
    right, left, tip = b.size(0.05), b.size(0.1), b.size(0.15)
    lobes = [
        s.ellipsoid(
            b.near((66, 14, 42), 4),
            (68 * right, 84 * right, 84 * b.size(0.07)),
            rotated_axes(z_deg=10),
            power=2.2,
        ),
        s.ellipsoid(
            b.near((-14, 60, 62), 5), (80 * left, 40, 34 * left), rotated_axes(y_deg=-16, z_deg=-8)
        ),
        s.ellipsoid((98, 4, -18), (34, 50, 52 * tip)),
        s.ellipsoid(b.near((14, 20, 58), 2), (15, 13, 24)),  # caudate lobe
    ]
    liver = union(lobes, 16)
    x, y, z = (c[liver.box] for c in (s.x, s.y, s.z))
    steep = float(b.rng.normal(0.72, 0.07))
    # The porta hepatis lies high between the lobes, the anterior edge lower.
    porta = 24 * np.exp(-(((y - 32) / 24) ** 2) - ((x - 36) / 28) ** 2)
    floor = (
        34
        - steep * np.clip(x, -30, 118)
        + porta
        - 22 * np.clip((y - 45) / 50, 0, 1)
        - 8 * np.exp(-(((x - 60) / 25) ** 2))
    )
    under = (z - floor + 3.0 * s.rough[2][liver.box]) * 0.8
    caudate = lobes[3].within(liver.box)
    liver = Field(liver.box, np.minimum(liver.sdf, np.maximum(under, caudate)).astype(np.float32))
    fissure = s.perturbed(
        s.ellipsoid(b.near((14, 66, 26), 3), (2.6, 24, 24), rotated_axes(z_deg=-12)), 0.9, 2
    )
    behind_cava = s.ellipsoid((27, -11, 22), (16, 13, 23))
    groove = s.tube(
        [centerline([[20, 52, 34, 2], [4, 34, 52, 2.2], [2, 20, 74, 1.5]])], margin_mm=4
    )
    return (
        s.perturbed(s.perturbed(liver, 1.2, 2).inside(b.inside), 0.3, 0)
        .minus(fissure)
        .minus(groove)
        .minus(behind_cava)
    )


def _spleen(b: Builder) -> Field:
    s, rng = b.space, b.rng
    turn = rotated_axes(x_deg=float(rng.normal(-30, 5)), z_deg=float(rng.normal(-22, 6)))
    large = b.size(0.13)
    whole = s.ellipsoid(
        b.near((-91, -24, 46), 4), (40 * large, 56 * large, 64 * large), turn, power=2.2
    )
    hollow = s.ellipsoid((-42, 24, 46), (34, 40, 46))
    return s.perturbed(whole.minus(hollow, -1), 1.3, 1).inside(b.inside)
