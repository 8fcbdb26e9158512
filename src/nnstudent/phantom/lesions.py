"""Lesions, and benign findings that look similar (cysts, stones, calcified walls)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnstudent.phantom.build import Builder, Layer
from nnstudent.phantom.shapes import Field, Point, rotated_axes

LARGEST_MM = {
    "liver": 40.0,
    "right_kidney": 26.0,
    "left_kidney": 26.0,
    "pancreas": 17.0,
    "stomach": 22.0,
    "colon": 24.0,
}


def _random_point(b: Builder, field: Field, deep_mm: float) -> Point | None:
    """A random point inside a shape, at least ``deep_mm`` deep if the shape is thick enough."""
    if field.empty:
        return None
    deep = np.argwhere(field.sdf >= min(deep_mm, 0.6 * float(field.sdf.max())))
    index = deep[int(b.rng.integers(len(deep)))]
    at = tuple(int(i) + span.start for i, span in zip(index, field.box, strict=True))
    return float(b.space.x[at]), float(b.space.y[at]), float(b.space.z[at])


def _blob(b: Builder, center: Point, radius: float, which: int) -> Field:
    radii = (radius * b.size(0.18), radius * b.size(0.18), radius * b.size(0.18))
    blob = b.space.ellipsoid(center, radii, rotated_axes(*b.rng.uniform(0, 90, 3)))
    return b.space.perturbed(b.space.perturbed(blob, 0.07 * radius, which), 0.05 * radius, 0)


def lesion_layers(b: Builder, hosts: Mapping[str, Field]) -> list[Layer]:
    """The lesions, each within its host organ; some large ones have a necrotic core."""
    rng, out = b.rng, []
    for number, host in enumerate(b.patient.lesions):
        if host in b.patient.removed:
            continue
        center = _random_point(b, hosts[host], 4.0)
        if center is None:
            continue
        radius = float(
            np.clip(np.exp(rng.normal(np.log(15 if number == 0 else 9), 0.45)), 5, LARGEST_MM[host])
        )
        blob = _blob(b, center, radius, number).inside(hosts[host], 0.2)
        out.append(Layer(f"lesion {host}", blob, f"lesion_{host}", lesion=True))
        if radius > 13 and rng.random() < 0.6:
            middle = b.space.perturbed(
                blob.shrunk(float(rng.uniform(0.35, 0.6)) * radius), 0.12 * radius, number + 1
            )
            out.append(Layer(f"necrosis {host}", middle, "necrosis"))
    return out


def benign_layers(b: Builder, hosts: Mapping[str, Field]) -> list[Layer]:
    """Cysts, gallstones, kidney stones and calcifications; they keep the label of their organ."""
    rng, out = b.rng, []
    for host in ("liver", "right_kidney", "left_kidney"):
        cysts = int(rng.choice([0, 1, 2], p=[0.72, 0.18, 0.10]))
        for _ in range(cysts if host in hosts else 0):
            center = _random_point(b, hosts[host], 5.0)
            if center is not None:
                radius = float(np.clip(np.exp(rng.normal(np.log(8), 0.45)), 3, 25))
                out.append(
                    Layer(
                        f"cyst {host}",
                        b.space.ellipsoid(center, (radius,) * 3).inside(hosts[host]),
                        "cyst",
                    )
                )
    for host, chance in (("gallbladder", 0.12), ("right_kidney", 0.06), ("left_kidney", 0.06)):
        if host in hosts and rng.random() < chance:
            center = _random_point(b, hosts[host], 5.0)
            if center is not None:
                out.append(
                    Layer(
                        f"stone {host}",
                        b.space.ellipsoid(center, (float(rng.uniform(2, 6)),) * 3),
                        "stone",
                    )
                )
    if rng.random() < 0.35:
        aorta = hosts["aorta"]
        shell = np.minimum(
            1.4 - np.abs(aorta.sdf - 1),
            2 * b.space.rough[0][aorta.box]
            + 1.5 * b.space.rough[1][aorta.box]
            - float(rng.uniform(2, 5)),
        )
        out.append(Layer("calcified aorta", Field(aorta.box, shell.astype(np.float32)), "stone"))
    return out
