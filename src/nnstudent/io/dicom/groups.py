"""CT images grouped by series, and which group is meant where a study has several; of headers alone, wherever they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nnstudent.io.dicom.headers import Header, Plane
from nnstudent.io.dicom.values import Floats

_LISTED = 6  # series named in a message
_SHARP = re.compile(
    r"LUNG|BONE|EDGE|SHARP|^[A-Z][a-z]{0,2}[5-9]\d|^FC[358]\d"
)  # GE by words; Siemens; Canon
_AS_LONG = 0.9  # of the longest series: what covers that much covers the same


@dataclass(frozen=True, eq=False)
class Group:
    """The planes of CT images that share a series UID, or those of one volume among them.

    Attributes:
        uid: Of the series.
        number: Of the series, ``?`` if it has none; of one volume among several its place too, such as ``2.1``.
        planes: Its planes, in no order.
        part: What tells the volume from the others of its series; empty where it is the whole series.
        differ: In what its planes differ that could mean that they are several volumes; empty if in nothing.
        conflict: Whether they must not be taken for one volume, for what they differ in.
    """

    uid: str
    number: str
    planes: tuple[Plane, ...]
    part: str = ""
    differ: str = ""
    conflict: bool = False

    @classmethod
    def of(cls, uid: str, headers: Iterable[Header]) -> Group:
        """The planes of a series' headers, of which there is at least one."""
        headers = list(headers)
        return cls(
            uid, headers[0].number, tuple(plane for header in headers for plane in header.planes)
        )

    @property
    def original(self) -> bool:
        """Whether it was reconstructed from what was measured, not from other images."""
        return not self._trait("ImageType").startswith("DERIVED")

    @property
    def kernel(self) -> str:
        """Convolution kernel as the scanner names it, or nothing."""
        return self._trait("ConvolutionKernel").replace("\\", "/")

    @property
    def order(self) -> tuple[str, str]:
        """By which series are listed: number, then UID."""
        return ".".join(part.zfill(8) for part in self.number.split(".")), self.uid

    @cached_property
    def places(self) -> frozenset[tuple[float, ...]]:
        """Where its planes lie; without those that do not say it."""
        return frozenset(
            tuple(np.round(plane.position, 2))
            for plane in self.planes
            if plane.position is not None
        )

    def axial(self) -> bool:
        """Whether its planes lie across the patient, to 45°."""
        normal = self._normal()
        return normal is not None and bool(abs(normal[2]) > np.sqrt(0.5))

    def extent(self) -> float:
        """From the first plane to the last, mm."""
        normal = self._normal()
        return (
            0.0
            if normal is None or not self.places
            else float(np.ptp(np.array(sorted(self.places)) @ normal))
        )

    def _normal(self) -> Floats | None:
        orientation = self.planes[0].orientation
        return None if orientation is None else np.cross(orientation[:3], orientation[3:])

    def _trait(self, name: str) -> str:
        return self.planes[0].traits.get(name, "")

    def __str__(self) -> str:
        """Nothing that could tell who the patient is: neither the description, which is free text, nor the UID."""
        rows, columns = self.planes[0].size
        axial = "axial" if self.axial() else "not axial"
        facts = [
            f"{len(self.planes)} images of {columns}×{rows}",
            axial,
            *filter(None, (self.kernel, self.part)),
        ]
        return f"{self.number}: {', '.join(facts)}"


def candidates(groups: Sequence[Group]) -> list[Group]:
    """The series that could be meant: with at least three planes; of these the axial ones; of these those not derived from others."""
    left = list(groups)
    wanted: tuple[Callable[[Group], bool], ...] = (
        lambda g: len(g.places) >= 3,
        Group.axial,
        lambda g: g.original,
    )
    for wish in wanted:
        left = [group for group in left if wish(group)] or left
    return left


def best(groups: Sequence[Group]) -> Group:
    """The series to take where nobody can be asked.

    Of the :func:`candidates` those that cover the most of the body, to a tenth; of these those whose kernel is not known to be
    a sharp one (lung, bone), in which soft tissue drowns in noise; of these the one with the most planes, then with the lowest number.
    """
    left = candidates(groups)
    longest = max(group.extent() for group in left)
    left = [group for group in left if group.extent() >= _AS_LONG * longest]
    left = [group for group in left if not _SHARP.search(group.kernel)] or left
    return min(left, key=lambda group: (-len(group.places), group.order))


def listed(groups: Sequence[Group]) -> str:
    """What the series are, for a message."""
    return "; ".join(str(group) for group in groups[:_LISTED]) + (
        "; …" if len(groups) > _LISTED else ""
    )
