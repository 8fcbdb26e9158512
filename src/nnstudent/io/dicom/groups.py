"""Groups CT images by series and chooses one, by their headers alone.

The headers may come from files or from an archive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nnstudent.io.dicom.headers import Header, Plane
from nnstudent.types import Float64Array

_LISTED = 6  # series named in a message
# Sharp kernels: by words as GE does, Siemens, Canon.
_SHARP = re.compile(r"LUNG|BONE|EDGE|SHARP|^[A-Z][a-z]{0,2}[5-9]\d|^FC[358]\d")
_AS_LONG = 0.9  # A series of this share of the longest one's extent covers as much of the body.


@dataclass(frozen=True, eq=False)
class Group:
    """The planes of CT images that share a series UID, or those of one volume among them.

    Attributes:
        uid: UID of the series.
        number: Number of the series, ``?`` if it has none; for one volume among several followed
            by its place, such as ``2.1``.
        planes: Its planes, in no order.
        part: What distinguishes the volume from the others of its series; empty for a whole series.
        differences: What differs between the planes and may mean that they are several volumes;
            empty if nothing does.
        conflict: Whether these differences forbid taking the planes for one volume.
    """

    uid: str
    number: str
    planes: tuple[Plane, ...]
    part: str = ""
    differences: str = ""
    conflict: bool = False

    @classmethod
    def of(cls, uid: str, headers: Iterable[Header]) -> Group:
        """Return the planes of all headers of a series; there is at least one."""
        headers = list(headers)
        return cls(
            uid, headers[0].number, tuple(plane for header in headers for plane in header.planes)
        )

    @property
    def original(self) -> bool:
        """Whether it was reconstructed from measured data rather than from other images."""
        return not self._trait("ImageType").startswith("DERIVED")

    @property
    def kernel(self) -> str:
        """Convolution kernel as the scanner names it; empty if it names none."""
        return self._trait("ConvolutionKernel").replace("\\", "/")

    @property
    def order(self) -> tuple[str, str]:
        """The key by which series are listed: number, then UID."""
        return ".".join(part.zfill(8) for part in self.number.split(".")), self.uid

    @cached_property
    def places(self) -> frozenset[tuple[float, ...]]:
        """The positions of its planes, LPS, mm, without planes that do not state theirs."""
        return frozenset(
            tuple(np.round(plane.position, 2))
            for plane in self.planes
            if plane.position is not None
        )

    def axial(self) -> bool:
        """Whether its planes lie across the patient, within 45°."""
        normal = self._normal()
        return normal is not None and bool(abs(normal[2]) > np.sqrt(0.5))

    def extent(self) -> float:
        """Distance from the first plane to the last, in mm."""
        normal = self._normal()
        return (
            0.0
            if normal is None or not self.places
            else float(np.ptp(np.array(sorted(self.places)) @ normal))
        )

    def _normal(self) -> Float64Array | None:
        orientation = self.planes[0].orientation
        return None if orientation is None else np.cross(orientation[:3], orientation[3:])

    def _trait(self, name: str) -> str:
        return self.planes[0].traits.get(name, "")

    def __str__(self) -> str:
        """Describe the series without its UID or free text, which could identify the patient."""
        rows, columns = self.planes[0].size
        axial = "axial" if self.axial() else "not axial"
        facts = [
            f"{len(self.planes)} images of {columns}×{rows}",
            axial,
            *filter(None, (self.kernel, self.part)),
        ]
        return f"{self.number}: {', '.join(facts)}"


def candidates(groups: Sequence[Group]) -> list[Group]:
    """Return the series that could be meant.

    Series with at least three planes are preferred, among these the axial ones, and among these
    those that are not derived from others.
    """
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
    """Choose a series if nobody can be asked.

    Among the :func:`candidates`, those that cover most of the body (within a tenth) are preferred;
    then those without a sharp kernel (lung, bone), whose noise drowns soft tissue; then the one
    with the most planes; then the one with the lowest number.
    """
    left = candidates(groups)
    longest = max(group.extent() for group in left)
    left = [group for group in left if group.extent() >= _AS_LONG * longest]
    left = [group for group in left if not _SHARP.search(group.kernel)] or left
    return min(left, key=lambda group: (-len(group.places), group.order))


def describe_groups(groups: Sequence[Group]) -> str:
    """Return a list of series for a message."""
    return "; ".join(str(group) for group in groups[:_LISTED]) + (
        "; …" if len(groups) > _LISTED else ""
    )
