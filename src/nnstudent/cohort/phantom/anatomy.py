"""The model anatomy: where everything lies, as an ordered list of layers, later ones over earlier ones.

Places are in mm of the model anatomy: x towards the patient's right from the midline, y anterior from the front of
the vertebral bodies, z superior from the middle of L1. Lumbar vertebrae are 36 mm apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnstudent.cohort.phantom.patient import Patient
from nnstudent.cohort.phantom.shapes import Array, Field, Point, Space, path, turned, union

ORGANS = {
    "liver": 1, "right_kidney": 2, "spleen": 3, "pancreas": 4, "aorta": 5, "inferior_vena_cava": 6, "right_adrenal_gland": 7,
    "left_adrenal_gland": 8, "gallbladder": 9, "esophagus": 10, "stomach": 11, "duodenum": 12, "left_kidney": 13, "tumor": 14,
}  # fmt: skip
VERTEBRAE = [-180, -144, -108, -72, -36, 0, 33, 62, 89, 115, 140, 164, 187]


@dataclass(frozen=True, eq=False)
class Layer:
    """One tissue of one structure.

    Attributes:
        name: Of the structure.
        field: Where it is.
        tissue: What it looks like (a key of the looks).
        label: Value it writes into the truth; 0 erases, None leaves what is there.
    """

    name: str
    field: Field
    tissue: str
    label: int | None = None


class Builder:
    """Makes the layers of one patient on one working grid."""

    def __init__(self, space: Space, patient: Patient) -> None:
        self.space, self.patient = space, patient
        self.rng = np.random.default_rng([patient.seed, 2])
        self.cavity = self._cavity()
        self.dome = self._dome()

    def vary(self, controls: list[list[float]], mm: float = 3.0, radius: float = 0.08) -> np.ndarray:
        """Control points of a path, shifted together and each a little, and made wider or thinner."""
        points = np.asarray(controls, np.float64).copy()
        points[:, :3] += self.rng.normal(0, mm, 3) * 0.7 + self.rng.normal(0, mm * 0.6, (len(points), 3))
        points[:, 3] *= float(np.exp(self.rng.normal(0, radius)))
        return path(points)

    def size(self, deviation: float = 0.07) -> float:
        """A random size factor."""
        return float(np.exp(np.clip(self.rng.normal(0, deviation), -2 * deviation, 2 * deviation)))

    def near(self, point: Point, mm: float) -> Point:
        """A random place about ``point``."""
        x, y, z = np.asarray(point) + np.clip(self.rng.normal(0, mm, 3), -2 * mm, 2 * mm)
        return float(x), float(y), float(z)

    def _cavity(self) -> Field:
        s = self.space
        levels = [-260, -200, -130, -70, 0, 60, 110, 150, 190]
        half_x = np.interp(s.z, levels, [105, 118, 122, 122, 128, 131, 124, 112, 95]).astype(np.float32)
        half_y = np.interp(s.z, levels, [78, 82, 84, 84, 88, 92, 90, 85, 72]).astype(np.float32)
        middle = np.interp(s.z, levels, [5, 12, 22, 24, 22, 16, 8, 0, -8]).astype(np.float32)
        dy = s.y - middle
        q = (np.abs(s.x / half_x) ** 2.3 + np.abs(dy / half_y) ** 2.3) ** np.float32(1 / 2.3)
        r = np.hypot(s.x, dy)
        self.radius = q
        return Field(s.whole, np.where(q > 0.05, r * (1 / np.maximum(q, 0.05) - 1), 80).astype(np.float32))

    def _dome(self) -> Array:
        """How far each node lies below the diaphragm, in mm."""
        s = self.space
        right = 22 * np.exp(-(((s.x - 62) / 55) ** 2) - ((s.y - 25) / 55) ** 2)
        left = 10 * np.exp(-(((s.x + 62) / 50) ** 2) - ((s.y - 20) / 50) ** 2)
        q = np.minimum(self.radius, 1.2)
        back = np.clip((20 - s.y) / 80, 0, 1)
        top = 98 + right + left - (70 + 20 * back) * q**4
        return ((top - s.z) * np.float32(0.8)).astype(np.float32)

    def layers(self) -> list[Layer]:
        """All layers, in the order in which they are drawn."""
        out = self._body()
        out += self._skeleton()
        organs = self._organs()
        out += organs
        return [layer for layer in out if layer.field.sdf.size and not layer.field.empty]

    def _body(self) -> list[Layer]:
        s, p = self.space, self.patient
        around = np.arctan2(s.x, s.y - 15)  # 0 in front, pi at the back
        thick = p.fat_mm * (1.0 + 0.25 * np.cos(2 * around + np.pi) - 0.15 * np.cos(around))
        thick = thick * np.interp(s.z, [-220, -120, 0, 80, 160], [1.5, 1.25, 1.0, 0.7, 0.6])
        wall = 12 * p.muscle * (1 + 0.25 * np.cos(2 * around + np.pi)) + 2
        inner = self.cavity.sdf
        body = Field(s.whole, (inner + wall + thick).astype(np.float32))
        muscle = Field(s.whole, (inner + wall).astype(np.float32))
        peritoneum = Field(s.whole, np.where(self.dome > -6, inner, -inner * 0 - 30).astype(np.float32))
        lungs = Field(s.whole, np.minimum(inner - 2, -self.dome - 2).astype(np.float32))
        middle = 24 + 8 * np.sin(s.y / 30)
        heart = self.space.perturbed(s.ellipsoid((-22, 48, 142), (62, 48, 45), turned(z_deg=25)), 1.5)
        lungs = Field(lungs.box, np.minimum(lungs.sdf, np.abs(s.x) - middle * (s.y < 60)))
        back = union(
            [
                s.tube(
                    [path([[x * 33, -62, 200, 20], [x * 34, -66, 60, 22], [x * 34, -64, -60, 26], [x * 30, -66, -190, 18]])],
                    flat=(0.8, 1.1, 1),
                )
                for x in (-1, 1)
            ]
        )
        psoas = union(
            [
                s.tube(
                    [
                        path(
                            [
                                [x * 26, -12, 20, 6],
                                [x * 34, -12, -40, 15],
                                [x * 44, -5, -100, 21],
                                [x * 55, 10, -170, 22],
                                [x * 70, 25, -240, 18],
                            ]
                        )
                    ]
                )
                for x in (-1, 1)
            ]
        )
        quadratus = union(
            [s.tube([path([[x * 62, -48, 10, 8], [x * 68, -46, -60, 13], [x * 72, -48, -110, 14]])], flat=(0.7, 1.2, 1)) for x in (-1, 1)]
        )
        crus = union([s.tube([path([[x * 15, 4, 95, 6], [x * 18, -2, 40, 6], [x * 14, -4, -30, 4]])], flat=(1.3, 0.8, 1)) for x in (-1, 1)])
        gluteal = union([s.ellipsoid((x * 85, -60, -235), (55, 40, 70)) for x in (-1, 1)])
        iliacus = union([s.tube([path([[x * 88, 0, -130, 8], [x * 85, 5, -170, 14], [x * 78, 25, -230, 16]])]) for x in (-1, 1)])
        return [
            Layer("body", body, "skin"),
            Layer("subcutaneous", body.shrunk(2.0), "fat"),
            Layer("wall", muscle, "muscle"),
            Layer("cavity", peritoneum, "fat"),
            Layer("diaphragm", Field(s.whole, np.minimum(inner + 2, 3.0 - np.abs(self.dome)).astype(np.float32)), "diaphragm"),
            Layer("mediastinum", Field(s.whole, np.minimum(inner, np.minimum(-self.dome - 3, 40)).astype(np.float32)), "fat"),
            Layer("lungs", lungs, "lung"),
            Layer("heart", heart.inside(Field(s.whole, -self.dome), 3), "heart"),
            Layer("back", s.perturbed(back, 1.0), "muscle"),
            Layer("gluteal", gluteal.inside(body, 15), "muscle"),
            Layer("psoas", s.perturbed(psoas, 1.0, 1), "muscle"),
            Layer("quadratus", quadratus, "muscle"),
            Layer("crus", crus, "muscle"),
            Layer("iliacus", iliacus, "muscle"),
        ]

    def _skeleton(self) -> list[Layer]:
        s = self.space
        bodies, discs, arches = [], [], []
        for low, high in zip(VERTEBRAE, VERTEBRAE[1:], strict=False):
            tall = high - low
            half = 22 if low < 60 else 18
            bodies.append(s.ellipsoid((0, -17, low), (half, 16, tall / 2 - 3.5), power=4))
            discs.append(s.ellipsoid((0, -17, low + tall / 2), (half - 2, 15, 5), power=3))
            arches.append(s.tube([path([[0, -46, low - 4, 5], [0, -62, low - 10, 4], [0, -78, low - 14, 5]])]))
            for x in (-1, 1):
                arches.append(s.tube([path([[x * 16, -28, low + 4, 5], [x * 16, -44, low, 6], [x * 4, -50, low - 4, 5]])]))
                arches.append(s.tube([path([[x * 16, -38, low, 5], [x * 34, -44, low, 4], [x * 44, -46, low, 3]])]))
        ribs = []
        for level, reach in zip(VERTEBRAE[6:], (0.45, 0.6, 0.8, 0.85, 0.9, 0.95), strict=False):
            for side in (-1, 1):
                turn = np.linspace(0.13, reach, 24) * np.pi
                half_x = 137 - 0.12 * max(0, level - 60)
                half_y = 98 - 0.05 * max(0, level - 60)
                drop = level - 62 * np.sin(turn / 2) ** 1.5
                ribs.append(path(np.stack([side * half_x * np.sin(turn), 14 - half_y * np.cos(turn), drop, np.full(24, 5.0)], 1)))
        wings = []
        for x in (-1, 1):
            wings.append(s.tube([path([[x * 48, -58, -150, 9], [x * 85, -38, -128, 8], [x * 112, -5, -122, 7], [x * 122, 30, -140, 7]])]))
            wings.append(s.tube([path([[x * 45, -55, -175, 9], [x * 82, -30, -165, 6], [x * 105, 5, -160, 6], [x * 118, 30, -165, 6]])]))
            wings.append(s.tube([path([[x * 60, -45, -200, 10], [x * 85, -15, -205, 8], [x * 100, 15, -200, 10]])]))
            wings.append(s.ellipsoid((x * 92, 0, -265), (24, 24, 24)))
            wings.append(s.tube([path([[x * 85, 5, -225, 20], [x * 60, 40, -260, 12], [x * 20, 60, -280, 10]])]))
        sacrum = s.ellipsoid((0, -48, -205), (48, 18, 42), turned(x_deg=-25), power=2.5)
        bone = union([*bodies, *arches, *wings, sacrum])
        rib = s.tube(ribs, flat=(1, 1, 0.75))
        canal = s.tube([path([[0, -41, 200, 9], [0, -41, -100, 9], [0, -48, -190, 7]])])
        return [
            Layer("discs", union(discs), "disc", 0),
            Layer("bones", s.perturbed(bone, 0.6), "bone", 0),
            Layer("marrow", bone.shrunk(2.6), "marrow", 0),
            Layer("ribs", rib, "bone", 0),
            Layer("rib marrow", rib.shrunk(2.0), "marrow", 0),
            Layer("canal", canal, "cord", 0),
        ]

    def _organs(self) -> list[Layer]:
        s, p, rng = self.space, self.patient, self.rng
        inside = Field(s.whole, np.minimum(self.cavity.sdf - 1.5, self.dome - 3.5))
        gap = np.float32(0.3 + 2.0 * p.visceral) + np.float32(0.8) * s.rough[1]

        def gap_in(field: Field) -> Array:
            return np.maximum(gap[field.box], -0.2)

        aorta = s.tube(
            [
                self.vary(
                    [
                        [-20, -8, 200, 13],
                        [-19, -4, 120, 12.5],
                        [-14, 9, 70, 11.5],
                        [-11, 13, 10, 10.5],
                        [-9, 12, -60, 9],
                        [-5, 11, -112, 8.5],
                    ],
                    1.5,
                )
            ]
        )
        iliac_a = s.tube(
            [self.vary([[-5, 11, -110, 7], [x * 22 - 3, 8, -135, 5.5], [x * 48, 6, -180, 5], [x * 60, 30, -240, 5]], 1.5) for x in (-1, 1)]
        )
        ivc = s.tube(
            [
                self.vary(
                    [[20, 10, -118, 9], [19, 12, -60, 10], [20, 14, 0, 11], [25, 22, 45, 12], [24, 36, 85, 13], [14, 46, 125, 13]],
                    1.5,
                    0.12,
                )
            ],
            flat=(0.9, 1.1, 1),
        )
        iliac_v = s.tube(
            [self.vary([[19, 9, -116, 8], [12 + x * 20, 0, -140, 7], [x * 48, -4, -180, 6.5], [x * 58, 22, -240, 6]], 1.5) for x in (-1, 1)]
        )
        arteries = s.tube(
            [
                self.vary([[-11, 20, 14, 4], [-10, 30, 16, 3.5], [10, 36, 22, 2.8], [35, 42, 28, 2]], 1.5),
                self.vary([[-11, 20, 4, 4], [-8, 32, -8, 3.8], [-6, 38, -40, 3.5], [-2, 44, -90, 2.5]], 1.0),
                self.vary([[-4, 10, -12, 3], [20, -4, -20, 2.8], [48, -18, -28, 2.5]], 1.0),
                self.vary([[-14, 10, -10, 3], [-30, -6, -14, 2.8], [-50, -18, -18, 2.5]], 1.0),
            ]
        )
        renal_v = s.tube(
            [
                self.vary([[20, 12, -16, 5], [40, -8, -24, 4.5], [54, -18, -28, 4]], 1.0),
                self.vary([[14, 20, -12, 4.5], [-10, 27, -12, 4], [-34, 4, -16, 4.5], [-54, -14, -20, 4]], 1.0),
            ]
        )
        portal = s.tube(
            [
                self.vary([[12, 36, -80, 4.5], [13, 38, -40, 5.5], [12, 36, -6, 6.5], [24, 38, 14, 6.5], [40, 38, 32, 6]], 1.2),
                self.vary([[12, 36, -4, 5], [-15, 40, 2, 4.5], [-45, 18, 16, 4.5], [-80, -8, 34, 4]], 1.2),
            ]
        )
        hepatic = s.tube(
            [
                path([[40, 38, 32, 5.5], [62, 28, 42, 5], [88, 15, 45, 3.5], [105, 5, 38, 2]]),
                path([[62, 28, 42, 4.5], [80, 45, 62, 3.5], [95, 55, 75, 2]]),
                path([[40, 38, 32, 5], [22, 58, 45, 4], [2, 70, 55, 3]]),
            ]
        )
        hepatic_v = s.tube(
            [
                path([[26, 36, 92, 5.5], [55, 20, 82, 4.5], [90, -5, 60, 3]]),
                path([[26, 38, 92, 5], [50, 55, 82, 4], [70, 72, 60, 2.5]]),
                path([[24, 40, 92, 4.5], [5, 60, 82, 3.5], [-15, 70, 70, 2]]),
            ]
        )

        # kidneys and adrenals
        kidneys: dict[str, tuple[Field, Field]] = {}
        for name, side, center in (("right_kidney", 1, (66, -24, -36)), ("left_kidney", -1, (-68, -22, -26))):
            c = self.near(center, 5)
            k = self.size(0.07)
            turn = turned(x_deg=float(rng.normal(12, 4)), y_deg=side * float(rng.normal(-13, 4)), z_deg=side * float(rng.normal(35, 6)))
            kidney = s.perturbed(s.ellipsoid(c, (28 * k, 24 * k, 53 * self.size(0.06)), turn), 1.2, side)
            hilum = s.ellipsoid((c[0] - side * 17 * k, c[1] + 11 * k, c[2]), (15 * k, 11 * k, 22), turn)
            kidneys[name] = kidney.minus(hilum), hilum.inside(kidney, -3)
        adrenals = {
            "right_adrenal_gland": self._adrenal((32, -2, 24), 1),
            "left_adrenal_gland": self._adrenal((-36, 8, 16), -1),
        }

        # digestive tract
        esophagus = s.tube(
            [self.vary([[-3, 10, 200, 8], [-5, 14, 140, 8], [-9, 21, 105, 8], [-20, 26, 82, 8.5], [-32, 26, 74, 9]], 1.5)],
            flat=(0.9, 1.15, 1),
        )
        fill = float(rng.choice([0.62, 0.8, 1.0, 1.12], p=[0.25, 0.3, 0.3, 0.15]))
        stomach = s.tube(
            [
                self.vary(
                    [
                        [-62, -2, 88, 27 * fill],
                        [-68, 14, 68, 31 * fill],
                        [-62, 40, 40, 29 * fill],
                        [-45, 60, 15, 25 * fill],
                        [-18, 70, 0, 20 * fill],
                        [12, 66, 2, 15 * fill + 2],
                        [34, 54, 6, 9],
                    ],
                    3,
                )
            ]
        )
        stomach = union([s.perturbed(stomach, 1.2), s.tube([path([[-28, 26, 76, 9], [-50, 20, 74, 12]])])], 6)
        duodenum = s.tube(
            [
                self.vary(
                    [
                        [35, 52, 6, 10],
                        [50, 42, 2, 12],
                        [57, 28, -18, 12.5],
                        [56, 22, -48, 12.5],
                        [44, 18, -70, 12],
                        [18, 30, -78, 11.5],
                        [-10, 34, -74, 11],
                        [-30, 32, -54, 11],
                        [-34, 38, -32, 11],
                    ],
                    2.5,
                    0.1,
                )
            ]
        )
        duodenum = s.perturbed(duodenum, 1.4, 1)
        pancreas = s.tube(
            [
                self.vary(
                    [
                        [34, 24, -46, 8],
                        [38, 28, -28, 15],
                        [34, 34, -12, 14],
                        [14, 44, -4, 9],
                        [-10, 47, 4, 9.5],
                        [-36, 32, 12, 10.5],
                        [-60, 10, 22, 11],
                        [-82, -6, 32, 9],
                    ],
                    2.5,
                    0.12,
                )
            ],
            flat=(1, 1, 0.85),
        )
        pancreas = s.perturbed(s.perturbed(pancreas, 1.2, 2), 0.8, 1)
        gallbladder = s.tube([self.vary([[52, 42, 12, 4.5], [62, 52, 2, 9], [72, 62, -14, 13], [78, 70, -30, 13.5]], 3, 0.18)])

        # solid organs of the upper abdomen
        liver = union(
            [
                s.ellipsoid(
                    self.near((66, 16, 48), 4), (66 * self.size(0.05), 82 * self.size(0.05), 82 * self.size(0.07)), turned(z_deg=10)
                ),
                s.ellipsoid(self.near((-4, 62, 66), 5), (66 * self.size(0.1), 36, 30 * self.size(0.12)), turned(y_deg=-16, z_deg=-8)),
                s.ellipsoid((95, 5, -15), (38, 52, 55 * self.size(0.15))),
            ],
            18,
        )
        x, y, z = (c[liver.box] for c in (s.x, s.y, s.z))
        under = (z - (34 - 0.72 * np.clip(x, -20, 120) + 0.12 * y)) * np.float32(0.8)
        liver = Field(liver.box, np.minimum(liver.sdf, under.astype(np.float32)))
        liver = s.perturbed(liver, 1.2, 2).inside(inside)
        spleen = s.ellipsoid(
            self.near((-98, -28, 44), 4), (32 * self.size(0.1), 46 * self.size(0.1), 54 * self.size(0.12)), turned(x_deg=-28, z_deg=-20)
        )
        spleen = s.perturbed(spleen, 1.2, 1).inside(inside)

        # what touches what: each gives way to those before it
        for kidney in kidneys.values():
            liver = liver.minus(kidney[0], gap_in(liver)).minus(kidney[1], 1)
            spleen = spleen.minus(kidney[0], gap_in(spleen))
        liver = (
            liver.minus(ivc, 0.2)
            .minus(aorta, 8)
            .minus(esophagus, 1)
            .minus(s.tube([path([[52, 42, 12, 6], [66, 56, -4, 12], [78, 70, -30, 13]])]), -3)
        )
        liver = liver.minus(portal, 0.5)
        for adrenal in adrenals.values():
            liver, spleen = liver.minus(adrenal, 0.4), spleen.minus(adrenal, 1.0)
        gallbladder = gallbladder.minus(liver, -0.2)
        spleen = spleen.minus(stomach, gap_in(spleen))
        stomach = (
            stomach.inside(inside)
            .minus(liver, gap_in(stomach))
            .minus(spleen, gap_in(stomach))
            .minus(kidneys["left_kidney"][0], 2)
            .minus(aorta, 4)
        )
        pancreas = (
            pancreas.minus(stomach, gap_in(pancreas))
            .minus(duodenum, gap_in(pancreas) * 0.5)
            .minus(portal, 0.3)
            .minus(kidneys["left_kidney"][0], 2)
            .minus(spleen, 1)
            .minus(liver, 0.5)
            .minus(aorta, 3)
            .minus(ivc, 0.8)
            .minus(kidneys["right_kidney"][0], 2)
        )
        duodenum = (
            duodenum.minus(stomach, -0.5)
            .minus(liver, gap_in(duodenum))
            .minus(kidneys["right_kidney"][0], gap_in(duodenum))
            .minus(ivc, 0.5)
            .minus(aorta, 0.8)
            .minus(gallbladder, 0.3)
            .minus(portal, 0.5)
        )
        esophagus = esophagus.minus(aorta, 0.6).minus(stomach)
        solid = [
            liver,
            spleen,
            stomach,
            pancreas,
            duodenum,
            gallbladder,
            kidneys["right_kidney"][0],
            kidneys["left_kidney"][0],
            aorta,
            ivc,
            portal,
        ]

        bowel_layers, colon = self._bowel(inside, solid, gap)
        ids = ORGANS
        ivc_tissue = "vein"
        out = [
            *bowel_layers,
            Layer(
                "bladder",
                s.perturbed(s.ellipsoid((0, 40, -240), (38 * self.size(0.2), 30 * self.size(0.15), 32 * self.size(0.2))), 1),
                "bladder",
                0,
            ),
            Layer("pelvic organ", s.perturbed(s.ellipsoid((0, -2, -232), (30, 20, 26)), 1.5, 1), "pelvic", 0),
            Layer("iliac arteries", iliac_a, "aorta", 0),
            Layer("iliac veins", iliac_v, "vein", 0),
            Layer("renal veins", renal_v, "vein", 0),
            Layer("arteries", arteries, "aorta", 0),
            Layer("portal", portal, "portal", 0),
            Layer("inferior_vena_cava", ivc, ivc_tissue, ids["inferior_vena_cava"]),
            Layer("aorta", aorta, "aorta", ids["aorta"]),
            Layer("esophagus", esophagus, "esophagus", ids["esophagus"]),
            Layer("esophagus lumen", esophagus.shrunk(5.5), "gas" if rng.random() < 0.5 else "fluid"),
            Layer("liver", liver, "liver", ids["liver"]),
            Layer("hepatic portal branches", hepatic.inside(liver, 1), "portal"),
            Layer("hepatic veins", hepatic_v.inside(liver, 1), "vein"),
            Layer("spleen", spleen, "spleen", ids["spleen"]),
        ]
        for name, (kidney, sinus) in kidneys.items():
            out.append(Layer(f"{name} sinus", sinus, "fat"))
            out.append(Layer(name, kidney, "kidney", ids[name]))
            pyramids = Field(kidney.box, (kidney.sdf - 6.5 + 3.0 * s.rough[0][kidney.box]).astype(np.float32))
            out.append(Layer(f"{name} medulla", pyramids, "medulla"))
        out.append(Layer("pancreas", pancreas, "pancreas", ids["pancreas"]))
        out.append(Layer("duodenum", duodenum, "duodenum", ids["duodenum"]))
        content = duodenum.shrunk(3.2)
        content = Field(content.box, np.minimum(content.sdf, 2.2 * s.rough[2][content.box] + 0.5))
        out.append(Layer("duodenum content", content, "contrast" if p.oral else "fluid"))
        out.append(Layer("stomach", stomach, "stomach", ids["stomach"]))
        wall = Field(stomach.box, stomach.sdf - (4.0 + 1.2 * s.rough[1][stomach.box]))
        level = float(rng.uniform(35, 75))
        out.append(Layer("stomach content", wall, "contrast" if p.oral else str(rng.choice(["fluid", "food", "food"]))))
        out.append(Layer("stomach gas", Field(wall.box, np.minimum(wall.sdf, s.y[wall.box] - level)), "gas"))
        for name, adrenal in adrenals.items():
            free = adrenal.minus(liver, 0).minus(ivc, 0.4)
            out.append(Layer(name, free, "adrenal", ids[name]))
        if p.gallbladder:
            out.append(Layer("gallbladder", gallbladder, "gallbladder", ids["gallbladder"]))
            out.append(Layer("bile", gallbladder.shrunk(1.8), "bile"))
        hosts = {"liver": liver, "pancreas": pancreas, "stomach": stomach, "colon": colon} | {n: k for n, (k, _) in kidneys.items()}
        return out + self._lesions(hosts)

    def _adrenal(self, joint: Point, side: int) -> Field:
        j = np.array(self.near(joint, 2))
        k = self.size(0.1)
        sheets = []
        for dx, dy, reach in ((-3, 9, 10), (9, -14, 18), (-4, -16, 17)):
            end = j + np.array([side * dx, dy, 0]) * k
            for step in np.linspace(0, 1, max(2, int(reach / 2))):
                place = j + (end - j) * step
                tall = (15 - 5 * step) * k
                sheets.append(path([[place[0], place[1], place[2] - tall, 2.2], [place[0] - side * 1.5, place[1], place[2] + tall, 1.8]]))
        return self.space.tube(sheets)

    def _bowel(self, inside: Field, solid: list[Field], gap: Array) -> tuple[list[Layer], Field]:
        s, p, rng = self.space, self.patient, self.rng
        w = float(rng.uniform(0.8, 1.15))
        colon = s.tube(
            [
                self.vary(
                    [
                        [88, 15, -165, 24 * w],
                        [100, 2, -120, 24 * w],
                        [106, -6, -70, 22 * w],
                        [100, 4, -38, 21 * w],
                        [86, 40, -34, 20 * w],
                        [58, 76, -50, 19 * w],
                        [10, 86, -58, 18 * w],
                        [-45, 82, -42, 18 * w],
                        [-88, 50, -8, 17 * w],
                        [-108, 10, 8, 16 * w],
                        [-108, -14, -30, 15 * w],
                        [-106, -16, -100, 14 * w],
                        [-92, 5, -155, 13 * w],
                        [-55, 30, -185, 14 * w],
                        [-15, 30, -200, 14 * w],
                        [5, 0, -190, 14 * w],
                        [0, -30, -205, 16 * w],
                        [0, -45, -250, 17 * w],
                    ],
                    6,
                )
            ]
        )
        colon = Field(colon.box, colon.sdf + 2.0 * s.rough[0][colon.box] + 1.2 * s.rough[2][colon.box])
        loops = []
        for y in (36, 60, 84):
            points, row = [], 0
            for z in np.arange(-178, -28, 25.0):
                width = 82 - 0.1 * abs(z + 100)
                along = np.linspace(-width, width, 8)
                for x in along if row % 2 else along[::-1]:
                    points.append([*(np.array([x, y, z + 6 * np.sin(x / 18 + y)]) + rng.normal(0, 5, 3)), float(rng.uniform(9.5, 13.5))])
                row += 1
            loops.append(path(points, step_mm=2.5))
        small = s.tube(loops)
        small = s.perturbed(small, 1.2, 1)
        for field in solid:
            colon = colon.minus(field, np.maximum(gap[colon.box], 0.2))
        colon = colon.inside(inside)
        small = small.inside(inside, 2).minus(colon, np.maximum(gap[small.box], 0.3))
        for field in solid:
            small = small.minus(field, np.maximum(gap[small.box], 0.3))
        filled = Field(small.box, np.minimum(small.sdf - 2.8, 3 * s.rough[0][small.box] + 0.8))
        gas = Field(small.box, np.minimum(small.sdf - 2.8, 3 * s.rough[2][small.box] - 4.2))
        inner = colon.shrunk(2.2)
        level = 3.0 * (s.y[inner.box] - 45) / 10 + 12 * s.rough[1][inner.box]
        layers = [
            Layer("small bowel", small, "bowel", 0),
            Layer("small bowel content", filled, "contrast" if p.oral else "fluid"),
            Layer("small bowel gas", gas, "gas"),
            Layer("colon", colon, "bowel", 0),
            Layer("colon stool", inner, "stool"),
            Layer("colon gas", Field(inner.box, np.minimum(inner.sdf, level.astype(np.float32))), "gas"),
        ]
        return layers, colon

    def _lesions(self, hosts: dict[str, Field]) -> list[Layer]:
        s, rng = self.space, self.rng
        out = []
        for number, host in enumerate(self.patient.lesions):
            field = hosts[host]
            if field.empty:
                continue
            depth = np.argwhere(field.sdf > min(3.0, 0.5 * float(field.sdf.max())))
            place = depth[int(rng.integers(len(depth)))]
            at = tuple(int(i) + b.start for i, b in zip(place, field.box, strict=True))
            center = (float(s.x[at]), float(s.y[at]), float(s.z[at]))
            size = float(np.exp(rng.normal(np.log(14 if number == 0 else 9), 0.4)))
            size = float(np.clip(size, 5, 40 if host == "liver" else 26))
            blob = s.ellipsoid(
                center, (size * self.size(0.15), size * self.size(0.15), size * self.size(0.15)), turned(*rng.uniform(0, 90, 3))
            )
            blob = s.perturbed(blob, 0.08 * size, number).inside(field, 0.3)
            out.append(Layer(f"lesion {host}", blob, f"lesion_{host}", ORGANS["tumor"]))
            if size > 14 and host in ("liver", "right_kidney", "left_kidney", "pancreas"):
                out.append(Layer(f"necrosis {host}", s.perturbed(blob.shrunk(0.5 * size), 0.12 * size, number + 1), "cyst"))
        return out
