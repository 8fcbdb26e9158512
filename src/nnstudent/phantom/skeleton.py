"""The bones: spine, ribs with their cartilage, pelvis."""

from __future__ import annotations

import numpy as np

from nnstudent.phantom.build import SQUARENESS, Builder, Layer, contour
from nnstudent.phantom.shapes import Centerline, Field, centerline, curve, rotated_axes, union
from nnstudent.phantom.torso import BOTH

# z of the middles of the vertebrae, S1 to T6.
VERTEBRAE = (-180, -144, -108, -72, -36, 0, 33, 62, 89, 115, 140, 164, 187)
# Length of ribs 12 to 6, from the spine (0) to the sternum (1).
_RIB_REACH = (0.3, 0.5, 0.74, 0.78, 0.8, 0.84, 0.88)


def skeleton_layers(b: Builder) -> list[Layer]:
    """All bones, each with its cortex and marrow."""
    s = b.space
    column, bodies = _spine(b)
    arches = s.tube(_arches(), margin_mm=4)
    pelvis, sacrum = _pelvis(b)
    bone = s.perturbed(union([bodies, arches, pelvis, sacrum]), 0.4)
    ribs, cartilage = _ribs()
    rib = s.tube(ribs, margin_mm=4, flat=(1.15, 1.15, 0.75))
    canal = s.tube([centerline([[0, -43, 200, 8.5], [0, -43, -100, 9], [0, -50, -190, 7]])])
    return [
        Layer("discs", column, "disc", 0),
        Layer("bones", bone, "bone", 0),
        Layer("marrow", bone.shrunk(2.0), "marrow", 0),
        Layer("ribs", rib, "bone", 0),
        Layer("rib marrow", rib.shrunk(1.9), "marrow", 0),
        Layer(
            "costal cartilage", s.tube(cartilage, margin_mm=4, flat=(1.1, 1.1, 0.8)), "cartilage", 0
        ),
        Layer("canal", canal, "epidural", 0),
        Layer("cord", canal.shrunk(2.2), "cord", 0),
    ]


def _spine(b: Builder) -> tuple[Field, Field]:
    """The column of bodies and discs, and the bodies alone."""
    s = b.space
    box = s.box((-26, -36, VERTEBRAE[0] - 20), (26, 4, VERTEBRAE[-1] + 14))
    x, y, z = s.x[box], s.y[box] + np.float32(17), s.z[box]
    middles = np.array(VERTEBRAE)
    between = (middles[1:] + middles[:-1]) / 2
    nearest = np.searchsorted(between, z)
    tall = np.append(np.diff(middles), 23)[nearest]
    along = np.abs(z - middles[nearest])
    half = tall / 2 - curve(z, [-150, 0, 90, 180], [5.5, 4.5, 3.0, 2.2])
    waist = 1 - 0.1 * np.clip(1 - (along / half) ** 2, 0, 1)
    width = curve(z, [-180, -100, 0, 100, 180], [26, 25, 22.5, 18, 16]) * waist
    q = np.sqrt((x / width) ** 2 + (y / (16.5 * waist)) ** 2)
    across = np.where(q > 0.05, np.hypot(x, y) * (1 / np.maximum(q, 0.05) - 1), 14)
    column = Field(box, (across - 0.8).astype(np.float32))
    return column, Field(box, np.minimum(across, half - along).astype(np.float32))


def _arches() -> list[Centerline]:
    out = []
    for low in VERTEBRAE[1:]:
        out.append(
            centerline([[0, -50, low - 4, 4], [0, -64, low - 9, 3.5], [0, -80, low - 14, 5]])
        )
        for side in BOTH:
            out.append(
                centerline(
                    [
                        [side * 15, -28, low + 5, 4.5],
                        [side * 17, -42, low + 1, 6],
                        [side * 10, -51, low - 4, 4.5],
                        [0, -54, low - 6, 4],
                    ]
                )
            )
            out.append(
                centerline(
                    [
                        [side * 17, -38, low + 2, 4.5],
                        [side * 32, -43, low + 2, 3.5],
                        [side * 42, -46, low + 2, 3],
                    ]
                )
            )
            out.append(centerline([[side * 17, -44, low - 4, 6], [side * 18, -45, low - 20, 6]]))
    return out


def _ribs() -> tuple[list[Centerline], list[Centerline]]:
    ribs, cartilage = [], []
    for number, (level, reach) in enumerate(zip(VERTEBRAE[6:], _RIB_REACH, strict=True)):
        for side in BOTH:
            whole = np.linspace(0.12, 1.0, 40)
            drop = 118
            turn = whole * np.pi
            z = (
                level
                + 10
                - drop * np.minimum(whole / 0.76, 1) ** 1.15
                + np.clip(whole - 0.76, 0, 1) * 230
            )
            half_x, half_y, middle = contour(z.astype(np.float32))
            sine, cosine = np.sin(turn), np.cos(turn)
            x = (half_x + 5) * np.sign(sine) * np.abs(sine) ** (2 / SQUARENESS)
            y = middle - (half_y + 5) * np.sign(cosine) * np.abs(cosine) ** (2 / SQUARENESS)
            points = np.stack([side * x, y, z, np.full(40, 5.2)], 1)
            bony = whole <= reach
            ribs.append(centerline(points[bony]))
            if number > 1:
                end = 0.93 if number > 3 else reach + 0.1
                soft = (whole >= reach - 0.03) & (whole <= end)
                cartilage.append(centerline(points[soft]))
    ribs.append(centerline([[0, 96, 200, 7], [0, 98, 130, 7], [0, 94, 100, 4]]))
    return ribs, cartilage


def _pelvis(b: Builder) -> tuple[Field, Field]:
    s = b.space
    crest = np.array(
        [
            [46, -62, -152, 7],
            [84, -46, -124, 6],
            [110, -12, -114, 6],
            [122, 24, -132, 7],
            [118, 42, -160, 7],
        ],
        float,
    )
    rim = np.array(
        [
            [46, -50, -196, 8],
            [72, -30, -206, 7],
            [90, 0, -212, 8],
            [100, 20, -215, 9],
            [102, 32, -215, 8],
        ],
        float,
    )
    paths = []
    for side in BOTH:
        for share in np.linspace(0, 1, 14):
            row = crest * (1 - share) + rim * share
            row[1:4, 3] -= 3.2 * np.sin(np.pi * share)  # the wing is thin in its middle
            paths.append(centerline(row * [side, 1, 1, 1]))
        paths.append(centerline([[side * 88, 5, -225, 22], [side * 88, 5, -250, 27]]))
        paths.append(
            centerline(
                [[side * 70, 25, -240, 10], [side * 40, 52, -262, 8], [side * 6, 60, -275, 9]]
            )
        )
        paths.append(
            centerline(
                [[side * 80, -15, -250, 11], [side * 66, -35, -285, 12], [side * 50, -5, -305, 9]]
            )
        )
        paths.append(
            centerline(
                [[side * 105, 0, -262, 14], [side * 135, -5, -285, 18], [side * 138, 0, -330, 17]]
            )
        )
    sacrum = s.ellipsoid((0, -52, -212), (50, 17, 46), rotated_axes(x_deg=-25), power=2.5)
    return s.tube(paths, margin_mm=4), sacrum
