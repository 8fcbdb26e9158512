"""CT images grouped by series, and which group is meant where a study has several; of headers alone, wherever they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

TAGS = (
    "SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "Modality", "ImageType", "ConvolutionKernel", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "RescaleSlope",
    "RescaleIntercept", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
_LISTED = 6  # series named in a message
_SHARP = re.compile(r"LUNG|BONE|EDGE|SHARP|^[A-Z][a-z]{0,2}[5-9]\d|^FC[358]\d")  # GE by words; Siemens; Canon
_AS_LONG = 0.9  # of the longest series: what covers that much covers the same


@dataclass(frozen=True, eq=False)
class Group:
    """The CT images that share a series UID.

    Attributes:
        uid: Of the series.
        headers: Of its images; the elements of :data:`TAGS` suffice.
        paths: Their files, in the same order; none where the headers come from an archive.
    """

    uid: str
    headers: list[Any] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)

    @property
    def number(self) -> str:
        """Of the series, ``?`` if it has none."""
        return str(self.headers[0].get("SeriesNumber") or "?")

    @property
    def original(self) -> bool:
        """Whether it was reconstructed from what was measured, not from other images."""
        return str((self.headers[0].get("ImageType") or ["ORIGINAL"])[0]) != "DERIVED"

    @property
    def kernel(self) -> str:
        """Convolution kernel as the scanner names it, or nothing."""
        kernel = self.headers[0].get("ConvolutionKernel") or ""
        return kernel if isinstance(kernel, str) else "/".join(map(str, kernel))

    @property
    def order(self) -> tuple[str, str]:
        """By which series are listed: number, then UID."""
        return self.number.zfill(8), self.uid

    def places(self) -> set[tuple[float, ...]]:
        """Where its planes lie; without those that do not say it."""
        return {tuple(np.round(place[0], 2)) for header in self.headers for place in places_of(header) if place[0].size == 3}

    def axial(self) -> bool:
        """Whether its planes lie across the patient, to 45°."""
        normal = self._normal()
        return normal is not None and abs(normal[2]) > np.sqrt(0.5)

    def extent(self) -> float:
        """From the first plane to the last, mm."""
        normal, places = self._normal(), self.places()
        return 0.0 if normal is None or not places else float(np.ptp(np.array(sorted(places)) @ normal))

    def _normal(self) -> Any:
        turns = [place[1] for header in self.headers[:1] for place in islice(places_of(header), 1)]
        return np.cross(turns[0][:3], turns[0][3:]) if turns and turns[0].size == 6 else None

    def __str__(self) -> str:
        """Nothing that could tell who the patient is: neither the description, which is free text, nor the UID."""
        images = sum(int(header.get("NumberOfFrames") or 1) for header in self.headers)
        size = f"{images} images of {self.headers[0].Columns}×{self.headers[0].Rows}"
        facts = [size, "axial" if self.axial() else "not axial", *([self.kernel] if self.kernel else [])]
        return f"{self.number}: {', '.join(facts)}"


def candidates(groups: Sequence[Group]) -> list[Group]:
    """The series that could be meant: with at least three planes; of these the axial ones; of these those not derived from others."""
    left = list(groups)
    wanted: tuple[Callable[[Group], bool], ...] = (lambda g: len(g.places()) >= 3, Group.axial, lambda g: g.original)
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
    return min(left, key=lambda group: (-len(group.places()), group.order))


def listed(groups: Sequence[Group]) -> str:
    """What the series are, for a message."""
    return "; ".join(str(group) for group in groups[:_LISTED]) + ("; …" if len(groups) > _LISTED else "")


def is_ct(header: Any) -> bool:
    """Whether it is a plane of a CT; a screenshot calls itself CT too, but has no place in the patient."""
    if header.get("Modality") != "CT" or int(header.get("SamplesPerPixel") or 1) != 1:
        return False
    if "LOCALIZER" in [str(value).upper() for value in header.get("ImageType") or []]:
        return False
    return "CaptureImageStorage" not in str(getattr(header.get("SOPClassUID"), "keyword", "")) or bool(header.get("ImagePositionPatient"))


def places_of(header: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Position, orientation, pixel spacing, and what holds slope and intercept, of each plane of a file."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        yield (*(numbers_of(header, tag) for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")), header)
        return
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    for frame in header.PerFrameFunctionalGroupsSequence:
        position, orientation, measures, values = (
            next((level[name][0] for level in (frame, shared) if level is not None and level.get(name)), None)
            for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence")
        )
        yield (
            numbers_of(position, "ImagePositionPatient"),
            numbers_of(orientation, "ImageOrientationPatient"),
            numbers_of(measures, "PixelSpacing"),
            values,
        )


def numbers_of(holder: Any, tag: str) -> Any:
    """The numbers of an element; none where it is missing or holds something else."""
    value = None if holder is None else holder.get(tag)
    try:
        return np.array([] if value is None else np.atleast_1d(np.asarray(value, np.float64)), np.float64)
    except (TypeError, ValueError):
        return np.array([])
