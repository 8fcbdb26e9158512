"""The trunk: skin, fat, muscles, diaphragm, lungs, heart."""

from __future__ import annotations

import numpy as np

from nnstudent.phantom.build import Builder, Layer
from nnstudent.phantom.shapes import Field, centerline, curve, rotated_axes, union
from nnstudent.types import Float32Array

BOTH = (-1, 1)  # the patient's left, the patient's right


def torso_layers(b: Builder) -> list[Layer]:
    """Everything outside the abdominal cavity except the bones."""
    s, p = b.space, b.patient
    wall, fat = _wall_mm(b), _fat_mm(b)
    # The back of somebody who lies on a table is flat.
    outline = np.minimum(b.trunk + wall + fat, s.y + np.float32(88 + 0.75 * p.fat_mm))
    if p.sex == "f":
        breasts = union([s.ellipsoid((x * 68, 112, 168), (50, 34, 52)) for x in BOTH])
        outline = np.maximum(outline, breasts.within(s.whole))
    body = Field(s.whole, outline)
    muscle = Field(s.whole, b.trunk + wall)
    # The three flat muscles of the flank appear as stripes.
    stripe = np.minimum(
        0.9 - np.abs(b.trunk + wall * 0.42),
        np.clip(20 - s.z, -20, 5) * 0.2 + np.abs(s.x) * 0.04 - 3.5,
    )
    chest = Field(s.whole, np.minimum(b.trunk - 1, -b.below))
    return [
        Layer("skin", body, "skin"),
        Layer("subcutaneous fat", body.shrunk(2.2), "fat"),
        Layer("wall", muscle, "muscle"),
        Layer("flank stripes", Field(s.whole, stripe.astype(np.float32)), "fat"),
        Layer(
            "midline",
            Field(
                s.whole,
                np.minimum(muscle.sdf - 1, np.minimum(2.0 - np.abs(s.x), s.y - 40)).astype(
                    np.float32
                ),
            ),
            "fascia",
        ),
        Layer("abdominal fat", Field(s.whole, b.trunk), "mesentery"),
        Layer("mediastinum", chest, "fat"),
        *_chest(b, chest),
        Layer(
            "diaphragm", Field(s.whole, np.minimum(b.trunk + 1, 1.8 - np.abs(b.below))), "muscle"
        ),
        *_muscles(b, body, fat),
    ]


def _wall_mm(b: Builder) -> Float32Array:
    s = b.space
    r2 = s.x**2 + (s.y - 16) ** 2 + 1
    lateral = s.x**2 / r2
    front = np.clip((s.y - 16) / np.sqrt(r2), 0, 1)
    thick = curve(s.z, [-260, -200, -150, -100, -20, 40, 90, 150], [52, 40, 17, 13, 12, 9, 9, 11])
    thick = (
        thick
        * (0.7 + 0.55 * lateral)
        * (1 - 0.45 * front * (s.z < -140))
        * (1 - 0.55 * front * np.exp(-((s.x / 9) ** 2)))
    )
    thick = thick * b.patient.muscle + curve(s.z, [20, 70], [0, 2.5])
    behind = (
        15
        * np.clip((-20 - s.y) / 30, 0, 1)
        * np.exp(-((np.abs(s.x) / 62) ** 4))
        * np.sqrt(b.patient.muscle)
    )
    return np.asarray(np.maximum(thick, 3) + behind + 0.8 * s.rough[2], np.float32)


def _fat_mm(b: Builder) -> Float32Array:
    s, p = b.space, b.patient
    around = np.arctan2(s.x, s.y - 15)  # 0 in front, pi at the back
    lateral = 0.15 * np.cos(2 * around) if p.sex == "f" else 0.3 * np.cos(2 * around)
    thick = p.fat_mm * (1.0 + lateral - 0.18 * np.cos(around))
    thick = thick + 0.55 * p.fat_mm * np.exp(-(((np.abs(around) - 2.25) / 0.45) ** 2))
    thick = thick * curve(s.z, [-240, -120, -20, 60, 150], [1.6, 1.35, 1.0, 0.65, 0.55])
    navel = 14 * np.exp(-(s.x**2 + (s.z + 105) ** 2) / 60) * (s.y > 50)
    groove = 5 * np.exp(-((s.x / 14) ** 2)) * (s.y < -40)
    return np.asarray(np.maximum(thick - navel - groove, 2.5), np.float32)


def _chest(b: Builder, chest: Field) -> list[Layer]:
    s, rng = b.space, b.rng
    middle = curve(s.y, [-30, 20, 45, 70], [24, 24, 12, 5])
    lungs = Field(chest.box, np.minimum(chest.sdf - 1.5, np.abs(s.x) - middle).astype(np.float32))
    branches = []
    for side in BOTH:
        for _ in range(26):
            end = np.array(
                [side * rng.uniform(40, 115), rng.uniform(-55, 75), rng.uniform(70, 175)]
            )
            root = np.array([side * 28, 10.0, 165.0])
            bend = (root + end) / 2 + rng.normal(0, 10, 3)
            branches.append(centerline([[*root, 4.5], [*bend, 2.6], [*end, 1.0]], step_mm=3.0))
    heart = s.perturbed(s.ellipsoid((-20, 46, 146), (64, 48, 46), rotated_axes(z_deg=25)), 1.5)
    chambers = [
        s.ellipsoid((-48, 50, 138), (26, 20, 24)),
        s.ellipsoid((-8, 68, 140), (36, 18, 24), rotated_axes(z_deg=20)),
        s.ellipsoid((18, 42, 146), (20, 26, 28)),
    ]
    effusion = Field(
        chest.box, np.minimum(lungs.sdf, -s.y - 62 + 0.25 * (120 - s.z)).astype(np.float32)
    )
    out = [
        Layer("lungs", lungs, "lung"),
        Layer("lung vessels", s.tube(branches, margin_mm=3).inside(lungs), "myocardium"),
        Layer("pericardial fat", Field(heart.box, heart.sdf + 5), "fat"),
        Layer("heart", heart, "myocardium"),
        Layer("chambers", union(chambers).inside(heart, 3), "heart"),
    ]
    if rng.random() < 0.15:
        out.insert(2, Layer("effusion", effusion, "fluid"))
    return out


def _muscles(b: Builder, body: Field, fat: Float32Array) -> list[Layer]:
    s, m = b.space, b.patient.muscle**0.5

    def pair(controls: list[list[float]], flat: tuple[float, float, float] = (1, 1, 1)) -> Field:
        paths = [centerline([[side * x, y, z, r * m] for x, y, z, r in controls]) for side in BOTH]
        return s.tube(paths, flat=flat)

    under = Field(s.whole, body.sdf - fat * np.float32(0.8) - 2)
    back = pair(
        [[33, -64, 200, 22], [36, -66, 60, 25], [38, -66, -60, 28], [33, -70, -190, 20]],
        (0.78, 1.0, 1),
    ).inside(under)
    # The gaps between the muscle's bundles hold fat.
    clefts = Field(back.box, np.minimum(back.sdf - 3, 0.6 - np.abs(s.rough[2][back.box]) * 16))
    psoas = pair(
        [
            [26, -12, 20, 6],
            [33, -12, -40, 14],
            [42, -6, -100, 20],
            [54, 10, -170, 21],
            [72, 25, -240, 18],
        ]
    )
    quadratus = pair([[62, -46, 10, 8], [70, -46, -60, 13], [76, -48, -110, 15]], (0.7, 1.25, 1))
    crus = pair([[14, 6, 95, 5.5], [19, -2, 45, 6], [14, -4, -30, 4]], (1.3, 0.8, 1))
    iliacus = pair([[92, -8, -130, 7], [88, 5, -170, 13], [80, 25, -230, 15]])
    return [
        Layer("back", s.perturbed(back, 0.8), "muscle"),
        Layer("clefts", clefts, "fat"),
        Layer("psoas", s.perturbed(psoas, 1.0, 1), "muscle"),
        Layer("quadratus", quadratus, "muscle"),
        Layer("crus", crus, "muscle"),
        Layer("iliacus", iliacus, "muscle"),
    ]
