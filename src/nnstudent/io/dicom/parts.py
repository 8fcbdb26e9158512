"""Separates the volumes in one series: acquisitions, breath holds, phases, kernels, energies.

Slices are separated only if each part is a regular stack and all together are not, or if parts that
the headers call different acquisitions overlap in the body. Parts that continue each other are one
scan as long as they fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nnstudent.io.dicom.headers import IDENTITY, TRAITS, VALUES
from nnstudent.io.dicom.slices import (
    SAME_MM,
    Slice,
    are_nearly_parallel,
    group_by_direction,
)
from nnstudent.io.dicom.stack import judge

_LEAST = 3  # planes of a volume
_DEPTH = 2  # elements that are combined, such as phase and kernel
_WEAK = ("SliceThickness",)  # may also differ within one volume
# Elements whose values are never printed.
_UIDS = ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "IrradiationEventUID")
_TIMES = ("AcquisitionDateTime", "AcquisitionTime")
_SHOWN = 40  # characters of a value
_VALUES_SHOWN = 4

Planes = tuple[Slice, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """One volume of a series.

    Attributes:
        label: What distinguishes it from the others, such as ``AcquisitionNumber 2``; may be empty.
        slices: Its planes.
        differences: What differs between planes that could not be separated, such as
            ``AcquisitionNumber (1, 2)``; empty if nothing does.
        conflict: Whether the planes are probably several volumes and must not be taken for one.
    """

    label: str
    slices: Planes
    differences: str = ""
    conflict: bool = False


@dataclass(frozen=True, eq=False)
class _Split:
    """One way to separate planes."""

    name: str
    parts: tuple[Part, ...]
    strong: bool = True
    always: bool = False  # even if the parts continue each other

    @property
    def mixed(self) -> bool:
        """Whether parts overlap along the normal."""
        normal = self.parts[0].slices[0].normal
        heights = [[float(item.position @ normal) for item in part.slices] for part in self.parts]
        ends = sorted((min(along), max(along)) for along in heights)
        reached = -np.inf
        for low, high in ends:
            if low <= reached + SAME_MM:
                return True
            reached = max(reached, high)
        return False

    def __str__(self) -> str:
        if self.name in _UIDS:
            return f"{self.name} ({len(self.parts)} of them)"
        values = [part.label.removeprefix(f"{self.name} ") for part in self.parts]
        more = ", …" if len(values) > _VALUES_SHOWN else ""
        return f"{self.name} ({', '.join(values[:_VALUES_SHOWN])}{more})"


def divide(slices: Sequence[Slice]) -> tuple[list[Part], int]:
    """Separate the planes of a series into volumes.

    Args:
        slices: The planes, in any order.

    Returns:
        The volumes, at least one, and how many planes belong to none because they are turned
        against all others, as localizers are. A single volume keeps these planes.
    """
    geometries, odd = _by_geometry(slices)
    if len(geometries) > 1 and any(
        _resolve(planes, _DEPTH, strict=True) is None for planes in geometries
    ):
        first = geometries[0]
        near = [
            planes
            for planes in geometries
            if are_nearly_parallel(planes[0], first[0]) and planes[0].size == first[0].size
        ]
        geometries = [
            tuple(item for planes in near for item in planes),
            *(planes for planes in geometries if planes not in near),
        ]
    parts: list[Part] = []
    for planes in geometries:
        found = _resolve(planes, _DEPTH, strict=False) or []
        parts += found if len(found) > 1 else [_unparted(planes)]
    if len(parts) > 1:
        return parts, len(odd)
    return [
        Part(parts[0].label, (*parts[0].slices, *odd), parts[0].differences, parts[0].conflict)
    ], 0


def _unparted(planes: Planes) -> Part:
    """One part of planes that cannot be separated into several regular stacks."""
    state = judge(planes)
    splits = [split for split in _splits(planes) if split.strong and (split.always or split.mixed)]
    conflict = any(split.always for split in splits) or (state == "uneven" and bool(splits))
    return Part("", planes, "; ".join(str(split) for split in splits[:_VALUES_SHOWN]), conflict)


def _resolve(planes: Planes, depth: int, *, strict: bool) -> list[Part] | None:
    """The regular stacks that the planes can be separated into; None if they cannot."""
    state = judge(planes)
    for split in _splits(planes) if depth else ():
        needed = (
            split.always
            or state == "refused"
            or (split.mixed and (split.strong or state != "regular"))
        )
        if not needed:
            continue
        found: list[Part] = []
        for part in split.parts:
            inner = _resolve(part.slices, depth - 1, strict=state == "regular")
            if inner is None:
                break
            found += [
                Part(", ".join(filter(None, (part.label, item.label))), item.slices)
                for item in inner
            ]
        else:
            return found
    sound = state == "regular" or (state == "filled" and not strict)
    return [Part("", planes)] if sound and len(planes) >= _LEAST else None


def _splits(planes: Planes) -> Iterator[_Split]:
    """Yield the ways to separate planes, each once, the clearest first."""
    seen = set()
    for split in _all_splits(planes):
        same = frozenset(frozenset(map(id, part.slices)) for part in split.parts)
        if (
            len(split.parts) > 1
            and same not in seen
            and (split.name in IDENTITY or len(split.parts) * _LEAST <= len(planes))
        ):
            seen.add(same)
            yield split


def _all_splits(planes: Planes) -> Iterator[_Split]:
    for name in IDENTITY:
        values = {item.traits.get(name, "") for item in planes} - {""}
        # Some tools for de-identification give each slice a value of its own.
        if 1 < len(values) < len(planes):
            yield _by(planes, name, always=True)
    for name in (*TRAITS, *VALUES):
        yield _by(planes, name, strong=name not in _WEAK)
    for name in (*_TIMES, "ContentTime", "InstanceNumber"):
        yield _Split(f"order of {name}", tuple(_passes(planes, name)), strong=name in _TIMES)


def _by(planes: Planes, name: str, *, strong: bool = True, always: bool = False) -> _Split:
    parts: dict[tuple[int, float, str], list[Slice]] = {}
    for item in planes:
        parts.setdefault(_natural(item.traits.get(name, "")), []).append(item)
    # Words stay in the order of their files.
    ordered = sorted(parts.items(), key=lambda entry: entry[0][:2])
    values = [part[0].traits.get(name, "") for _, part in ordered]
    shown = [
        f"no. {place}" if name in _UIDS else value[:_SHOWN] or "missing"
        for place, value in enumerate(values, start=1)
    ]
    found = tuple(
        Part(f"{name} {value}", tuple(part))
        for value, (_, part) in zip(shown, ordered, strict=True)
    )
    return _Split(name, found, strong=strong, always=always)


def _by_geometry(slices: Sequence[Slice]) -> tuple[list[Planes], list[Slice]]:
    """Planes by direction, size and pixel spacing; and the few that are turned against the rest."""
    parts: list[list[Slice]] = []
    odd: list[Slice] = []
    for parallel in group_by_direction(slices):
        if parts and len(parallel) < _LEAST and not are_nearly_parallel(parts[0][0], parallel[0]):
            odd += parallel
            continue
        sizes: list[list[Slice]] = []
        for item in parallel:
            for part in sizes:
                if part[0].size == item.size and np.allclose(
                    part[0].spacing, item.spacing, rtol=1e-3
                ):
                    part.append(item)
                    break
            else:
                sizes.append([item])
        parts += sizes
    large = [part for part in parts if len(part) >= _LEAST] or [[]]
    small = [item for part in parts if len(part) < _LEAST for item in part]
    return [(*large[0], *small), *map(tuple, large[1:])], odd


def _passes(planes: Planes, name: str) -> Iterator[Part]:
    """Yield passes through the body, each in one direction, in the order of time or number."""
    values = [item.traits.get(name, "") for item in planes]
    if not all(values):
        return
    normal = planes[0].normal
    along = {id(item): float(item.position @ normal) for item in planes}
    ordered = sorted(planes, key=lambda item: (_natural(item.traits[name]), along[id(item)]))
    run, way, count = [ordered[0]], 0.0, 1
    for before, item in pairwise(ordered):
        step = along[id(item)] - along[id(before)]
        if step and (not way or np.sign(step) == way):
            way = float(np.sign(step))
            run.append(item)
        else:
            yield Part(f"pass {count} in the order of {name}", tuple(run))
            run, way, count = [item], 0.0, count + 1
    yield Part(f"pass {count} in the order of {name}", tuple(run))


def _natural(text: str) -> tuple[int, float, str]:
    """A sort key: numbers by value, so that 120 equals 120.0, before words."""
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text
