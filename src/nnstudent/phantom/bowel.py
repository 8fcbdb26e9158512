"""Small bowel, colon and pelvic organs, which a network could confuse with duodenum or stomach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnstudent.phantom.build import Builder, Layer
from nnstudent.phantom.shapes import Centerline, Field, centerline


@dataclass(frozen=True, eq=False)
class Bowel:
    """The shapes of the bowel, cut to the space that the organs leave."""

    colon: Field
    small: Field


def build_bowel(b: Builder, solid: Sequence[Field]) -> Bowel:
    """Colon and small bowel around the solid organs."""
    s = b.space
    colon = s.tube([_haustra(b, _colon(b))])
    colon = s.perturbed(s.perturbed(colon, 1.8, 0), 1.0, 2)
    small = s.perturbed(s.tube(_loops(b)), 1.2, 1)
    for field in solid:
        colon = colon.minus(field, np.maximum(b.gap(colon), 0.2))
    colon = colon.inside(b.inside)
    small = small.inside(b.inside, 1).minus(colon, np.maximum(b.gap(small), 0.3))
    for field in solid:
        small = small.minus(field, np.maximum(b.gap(small), 0.3))
    return Bowel(colon, small)


def _colon(b: Builder) -> Centerline:
    w = float(b.rng.uniform(0.75, 1.15))
    sag = float(b.rng.choice([0, -25, -60], p=[0.5, 0.3, 0.2]))  # of the transverse colon
    return b.vary(
        [
            [82, 18, -168, 23 * w],
            [96, 2, -125, 24 * w],
            [104, -6, -75, 22 * w],
            [100, 4, -42, 21 * w],
            [88, 40, -38, 20 * w],
            [58, 74, -50 + sag / 2, 19 * w],
            [10, 84, -56 + sag, 18 * w],
            [-48, 80, -38 + sag / 2, 18 * w],
            [-80, 66, 5, 18 * w],
            [-92, 44, 34, 18 * w],
            [-106, 8, 22, 16 * w],
            [-106, -14, -30, 15 * w],
            [-104, -16, -100, 14 * w],
            [-90, 5, -155, 13 * w],
            [-55, 30, -185, 13 * w],
            [-15, 32, -198, 13 * w],
            [5, 2, -192, 13 * w],
            [0, -28, -208, 15 * w],
            [0, -38, -260, 16 * w],
        ],
        6,
    )


def _haustra(b: Builder, course: Centerline) -> Centerline:
    """The colon's centerline with its sacculations."""
    along = np.arange(len(course)) * 1.5
    wave = 2 * np.pi * along / float(b.rng.uniform(26, 36))
    out = course.copy()
    out[:, 3] *= 1 + 0.13 * np.sin(wave) + 0.1 * np.sin(wave / 4.3 + 1)
    return out


def _loops(b: Builder) -> list[Centerline]:
    """Loops in three coronal sheets, with the ileum low and the jejunum high on the left."""
    rng, out = b.rng, []
    wide = 1.2 - 0.35 * b.patient.visceral  # with little fat, bowel fills the space
    for y in (34, 58, 82):
        points: list[list[float]] = []
        for row, z in enumerate(np.arange(-200, -28, 25.0)):
            width = float(np.interp(z, [-200, -150, -60, -20], [40, 72, 84, 70]))
            along = np.linspace(-width, width, 8)
            for x in along if row % 2 else along[::-1]:
                place = np.array([x, y, z + 6 * np.sin(x / 18 + y)]) + rng.normal(0, 5.5, 3)
                points.append([*place, wide * float(rng.uniform(6.5, 14))])
        out.append(centerline(points, step_mm=2.5))
    for y in (44, 70):
        points = [
            [
                *(np.array([-28 if n % 2 else -84, y, z]) + rng.normal(0, 7, 3)),
                wide * float(rng.uniform(8, 14)),
            ]
            for n, z in enumerate(np.arange(-40, 14, 11.0))
        ]
        out.append(centerline(points, step_mm=2.5))
    return out


def bowel_layers(b: Builder, parts: Bowel) -> list[Layer]:
    """Walls and contents: fluid, feathery folds, stool, and gas above."""
    s, rng, oral = b.space, b.rng, b.patient.oral
    small, colon = parts.small, parts.colon
    full = float(rng.uniform(-0.8, 1.6))  # collapsed loops show only wall
    filled = np.minimum(
        small.sdf - 2.6, 3 * s.rough[0][small.box] + 3 * s.rough[2][small.box] + full
    )
    gas = np.minimum(small.sdf - 2.6, 4 * s.rough[2][small.box] + (s.y[small.box] - 60) * 0.1 - 6.5)
    inner = colon.shrunk(2.0)
    stool = np.minimum(inner.sdf, 8 * s.rough[2][inner.box] + float(rng.uniform(0, 10)))
    level = (s.y[inner.box] - float(rng.uniform(25, 70))) * 0.35 + 9 * s.rough[1][inner.box]
    return [
        Layer("small bowel", small, "bowel", 0),
        Layer(
            "small bowel content",
            Field(small.box, filled.astype(np.float32)),
            "contrast" if oral else "fluid",
        ),
        Layer("small bowel gas", Field(small.box, gas.astype(np.float32)), "gas"),
        Layer("colon", colon, "bowel", 0),
        Layer("colon fluid", inner, "contrast" if oral and rng.random() < 0.5 else "fluid"),
        Layer("colon stool", Field(inner.box, stool.astype(np.float32)), "stool"),
        Layer(
            "colon gas", Field(inner.box, np.minimum(inner.sdf, level).astype(np.float32)), "gas"
        ),
    ]


def pelvic_layers(b: Builder) -> list[Layer]:
    """Bladder, and uterus or prostate."""
    s = b.space
    full = b.size(0.25)
    bladder = s.perturbed(s.ellipsoid((0, 38, -244), (36 * full, 28 * full, 30 * full)), 1)
    uterus = (
        s.ellipsoid(b.near((2, 8, -222), 4), (27, 22, 28))
        if b.patient.sex == "f"
        else s.ellipsoid((0, 8, -262), (22, 17, 18))
    )
    return [
        Layer("pelvic organ", s.perturbed(uterus, 1.2, 1), "pelvic", 0),
        Layer("bladder wall", bladder, "muscle", 0),
        Layer("bladder", bladder.shrunk(2.5), "urine", 0),
    ]
