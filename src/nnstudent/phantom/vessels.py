"""The vessels: aorta and vena cava, which are organs of the label table, and their branches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnstudent.phantom.build import Builder
from nnstudent.phantom.shapes import Centerline, Controls, Field, centerline
from nnstudent.phantom.torso import BOTH


@dataclass(frozen=True, eq=False)
class Vessels:
    """The vessels of a patient; the branches inside the liver still extend beyond it."""

    aorta: Field
    cava: Field
    arteries: Field
    veins: Field
    portal: Field
    mesenteric: Field
    hepatic_portal: Field
    hepatic_veins: Field


def build_vessels(b: Builder) -> Vessels:
    """All vessels of the abdomen, each with its own course."""
    s, rng = b.space, b.rng
    bend = float(rng.normal(0, 4))  # an elongated aorta winds
    aorta: Controls = [
        [-20, -10, 210, 13],
        [-19, -5, 120, 12.2],
        [-15, 8, 70, 11.3],
        [-11 - bend, 13, 10, 10.3],
        [-9 - 1.6 * bend, 13, -50, 9.2],
        [-5, 11, -114, 8.6],
    ]
    cava: Controls = [
        [20, 9, -118, 9],
        [19, 12, -60, 10],
        [20, 14, 0, 11],
        [25, 22, 45, 12],
        [25, 36, 85, 13],
        [16, 46, 125, 13],
    ]
    arteries, veins, portal = _arteries(b), _veins(b), _portal(b)
    mesenteric = _mesenteric(b)
    hepatic_portal, hepatic_veins = _hepatic_portal(b), _hepatic_veins(b)
    return Vessels(
        aorta=s.tube([b.vary(aorta, 1.5, 0.1)]),
        cava=s.tube(
            [b.vary(cava, 1.5, 0.12)],
            flat=(float(rng.uniform(0.82, 1)), float(rng.uniform(1, 1.35)), 1),
        ),
        arteries=s.tube(arteries, margin_mm=4),
        veins=s.tube(veins, margin_mm=4),
        portal=s.tube(portal),
        mesenteric=s.tube(mesenteric, margin_mm=4),
        hepatic_portal=s.tube(hepatic_portal, margin_mm=4),
        hepatic_veins=s.tube(hepatic_veins, margin_mm=4),
    )


def _arteries(b: Builder) -> list[Centerline]:
    return [
        b.vary([[-11, 20, 16, 4], [-9, 32, 18, 3.5], [10, 38, 23, 2.8], [35, 42, 28, 2]], 1.5),
        b.vary([[-10, 32, 18, 3.2], [-35, 22, 26, 2.6], [-75, -5, 38, 2]], 1.5),
        b.vary([[-11, 20, 5, 4], [-8, 33, -8, 3.8], [-5, 40, -40, 3.5], [-1, 46, -90, 2.3]], 1.0),
        b.vary([[-4, 12, -12, 3], [20, -4, -20, 2.8], [48, -18, -28, 2.4]], 1.0),
        b.vary([[-14, 12, -10, 3], [-30, -6, -14, 2.8], [-50, -18, -18, 2.4]], 1.0),
        *(
            b.vary(
                [
                    [-5, 11, -110, 7],
                    [side * 22 - 3, 8, -135, 5.5],
                    [side * 48, 6, -180, 5],
                    [side * 60, 30, -240, 4.8],
                ],
                1.5,
            )
            for side in BOTH
        ),
        *(
            centerline(
                [[side * 30, 6, -150, 4], [side * 48, -25, -190, 3.5], [side * 55, -38, -225, 2.5]]
            )
            for side in BOTH
        ),
    ]


def _veins(b: Builder) -> list[Centerline]:
    return [
        b.vary([[20, 12, -16, 5], [40, -8, -24, 4.5], [54, -18, -28, 4]], 1.0),
        b.vary(
            [[14, 20, -12, 4.5], [-10, 27, -12, 3.6], [-34, 4, -16, 4.5], [-54, -14, -20, 4]], 1.0
        ),
        *(
            b.vary(
                [
                    [19, 9, -116, 8],
                    [12 + side * 20, 0, -140, 7],
                    [side * 48, -4, -180, 6.5],
                    [side * 58, 22, -240, 6],
                ],
                1.5,
            )
            for side in BOTH
        ),
        b.vary([[58, -8, -40, 1.8], [38, 2, -90, 2], [60, 20, -170, 2]], 2),
        b.vary([[-56, -8, -40, 1.8], [-40, 4, -90, 2], [-62, 20, -170, 2]], 2),
    ]


def _portal(b: Builder) -> list[Centerline]:
    return [
        b.vary(
            [
                [12, 38, -80, 4.5],
                [13, 39, -40, 5.2],
                [12, 37, -6, 6.2],
                [24, 38, 14, 6.3],
                [40, 38, 32, 6],
            ],
            1.2,
        ),
        b.vary([[12, 37, -4, 5], [-15, 41, 2, 4.5], [-45, 19, 16, 4.3], [-80, -6, 34, 3.8]], 1.2),
    ]


def _mesenteric(b: Builder) -> list[Centerline]:
    rng = b.rng
    mesenteric = []
    for _ in range(26):
        end = np.array([rng.uniform(-85, 80), rng.uniform(45, 85), rng.uniform(-165, -30)])
        root = np.array([8, 44, rng.uniform(-90, -20)])
        mesenteric.append(
            centerline(
                [[*root, 2.4], [*((root + end) / 2 + rng.normal(0, 7, 3)), 1.8], [*end, 1.1]],
                step_mm=2.5,
            )
        )
    return mesenteric


def _hepatic_portal(b: Builder) -> list[Centerline]:
    return [
        b.vary([[40, 38, 32, 5.5], [62, 28, 42, 5], [88, 15, 45, 3.5], [108, 5, 38, 1.8]], 2.0),
        b.vary([[62, 28, 42, 4.5], [80, 45, 62, 3.2], [95, 55, 78, 1.6]], 2.0),
        b.vary([[62, 28, 42, 4.5], [85, 5, 20, 3.2], [95, -10, -5, 1.6]], 2.0),
        b.vary([[40, 38, 32, 5], [22, 56, 45, 4], [2, 70, 58, 2.5], [-20, 78, 66, 1.4]], 2.0),
    ]


def _hepatic_veins(b: Builder) -> list[Centerline]:
    return [
        b.vary([[26, 36, 92, 5.2], [55, 20, 84, 4.4], [90, -8, 60, 2.8], [108, -18, 30, 1.5]], 2.0),
        b.vary([[26, 38, 92, 5], [45, 52, 84, 4], [66, 68, 60, 2.5], [74, 72, 35, 1.4]], 2.0),
        b.vary([[24, 40, 92, 4.5], [5, 58, 84, 3.3], [-18, 68, 72, 1.6]], 2.0),
    ]
