"""Which files of a folder are the CT series: found among reports, localizers, screenshots and other series."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.errors import GeometryError, InputError, require
from nnstudent.io.dicom_stack import Slice

_TAGS = (
    "SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "Modality", "ImageType", "ConvolutionKernel", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "RescaleSlope",
    "RescaleIntercept", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
_LISTED = 6  # series named in a message


@dataclass(frozen=True, eq=False)
class Found:
    """The CT series that was chosen.

    Attributes:
        slices: Its planes, in no order.
        warnings: Which other series were passed over.
    """

    slices: tuple[Slice, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Group:
    """The CT images that share a series UID."""

    uid: str
    headers: list[tuple[Path, Any]]

    @property
    def number(self) -> str:
        return str(self.headers[0][1].get("SeriesNumber") or "?")

    @property
    def original(self) -> bool:
        return str((self.headers[0][1].get("ImageType") or ["ORIGINAL"])[0]) != "DERIVED"

    def places(self) -> set[tuple[float, ...]]:
        """Where its planes lie; without those that do not say it."""
        return {tuple(np.round(place[0], 2)) for _, header in self.headers for place in _places(header) if place[0].size == 3}

    def axial(self) -> bool:
        """Whether its planes lie across the patient, to 45°."""
        turns = [place[1] for _, header in self.headers[:1] for place in islice(_places(header), 1)]
        return bool(turns and turns[0].size == 6 and abs(np.cross(turns[0][:3], turns[0][3:])[2]) > np.sqrt(0.5))

    def __str__(self) -> str:
        """Nothing that could tell who the patient is: neither the description, which is free text, nor the UID."""
        header = self.headers[0][1]
        images = sum(int(h.get("NumberOfFrames") or 1) for _, h in self.headers)
        kernel = header.get("ConvolutionKernel") or ""
        kernel = kernel if isinstance(kernel, str) else "/".join(map(str, kernel))
        facts = [
            f"{images} images of {header.Columns}×{header.Rows}",
            "axial" if self.axial() else "not axial",
            *([kernel] if kernel else []),
        ]
        return f"{self.number}: {', '.join(facts)}"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the DICOM libraries from printing: what they say of a malformed value quotes it, a patient's name too."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def holds_dicom(folder: Path, *, deep: bool = False) -> bool:
    """Whether DICOM files lie in a folder; told by the mark in their head, or by their ending.

    Args:
        folder: The folder.
        deep: Look into the folders below it too.
    """
    files = _files(folder) if deep else (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return any(path.suffix.lower() in (".dcm", ".ima") or _has_mark(path) for path in files)


def find_series(folder: Path, *, series: str | None = None) -> Found:
    """Find the CT series in a folder and the folders below it.

    Localizers, screenshots, reports, other modalities and files that are no DICOM are passed over. Of several CT series those
    are preferred that have at least three slices at different places, then those that are axial, then those that are
    not derived from others; if one remains it is taken.

    Args:
        folder: The folder.
        series: Number or UID of the series to take.

    Raises:
        InputError: There is no CT series, several could be meant, none is ``series``, or a file is damaged.
        GeometryError: An image of the series does not say where it lies.
        MissingExtraError: pydicom is not installed.
    """
    pydicom = require("pydicom", extra="dicom", why="reading DICOM")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the folder of a DICOM series")
    with quiet():
        groups = _groups(folder, _headers(folder, pydicom))
        group = _named(folder, groups, series) if series else _preferred(folder, groups)
        slices = tuple(item for path, header in group.headers for item in _slices(path, header))
    others = [other for other in groups if other is not group]
    told = f"took CT series {group}; passed over {_list(others)}; --series takes another"
    return Found(slices, (told,) if others and not series else ())


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))


def _has_mark(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(128)
            return file.read(4) == b"DICM"
    except OSError:
        return False


def _headers(folder: Path, pydicom: Any) -> list[tuple[Path, Any]]:
    found = []
    for path in _files(folder):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        except pydicom.errors.InvalidDicomError:
            continue
        except (OSError, EOFError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
            raise InputError(f"{path}: damaged DICOM ({type(error).__name__}); copy the series again") from error
        if header.get("Rows") and header.get("Columns"):  # reports, plans and DICOMDIR have none
            found.append((path, header))
    if not found:
        raise InputError(f"{folder}: no DICOM image in it; expected the folder of a CT series")
    return found


def _groups(folder: Path, headers: Iterable[tuple[Path, Any]]) -> list[_Group]:
    groups: dict[str, _Group] = {}
    others = set()
    for path, header in headers:
        if _is_ct(header):
            uid = str(header.get("SeriesInstanceUID", ""))
            groups.setdefault(uid, _Group(uid, [])).headers.append((path, header))
        else:
            others.add(str(header.get("Modality") or "unknown"))
    if not groups:
        raise InputError(f"{folder}: no CT series in it (modality {', '.join(sorted(others))}, or localizers); expected CT")
    return sorted(groups.values(), key=lambda group: (group.number.zfill(8), group.uid))


def _is_ct(header: Any) -> bool:
    """Whether it is a plane of a CT; a screenshot calls itself CT too, but has no place in the patient."""
    if header.get("Modality") != "CT" or int(header.get("SamplesPerPixel") or 1) != 1:
        return False
    if "LOCALIZER" in [str(value).upper() for value in header.get("ImageType") or []]:
        return False
    return "CaptureImageStorage" not in str(getattr(header.get("SOPClassUID"), "keyword", "")) or bool(header.get("ImagePositionPatient"))


def _named(folder: Path, groups: Sequence[_Group], series: str) -> _Group:
    named = [group for group in groups if series in (group.uid, group.number)]
    if not named:
        raise InputError(f"{folder}: no CT series {series}; it holds {_list(groups)}")
    if len(named) > 1:
        raise InputError(f"{folder}: {len(named)} CT series have the number {series}; give --series the series instance UID")
    return named[0]


def _preferred(folder: Path, groups: Sequence[_Group]) -> _Group:
    left = list(groups)
    for wanted in (lambda g: len(g.places()) >= 3, _Group.axial, lambda g: g.original):
        left = [group for group in left if wanted(group)] or left
    if len(left) > 1:
        raise InputError(f"{folder}: holds {len(left)} CT series that could be meant ({_list(left)}); name one with --series NUMBER or UID")
    return left[0]


def _list(groups: Sequence[_Group]) -> str:
    return "; ".join(str(group) for group in groups[:_LISTED]) + ("; …" if len(groups) > _LISTED else "")


def _places(header: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Position, orientation, pixel spacing, and what holds slope and intercept, of each plane of a file."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        yield (*(_numbers(header, tag) for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")), header)
        return
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    for frame in header.PerFrameFunctionalGroupsSequence:
        position, orientation, measures, values = (
            next((level[name][0] for level in (frame, shared) if level is not None and level.get(name)), None)
            for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence")
        )
        yield (
            _numbers(position, "ImagePositionPatient"),
            _numbers(orientation, "ImageOrientationPatient"),
            _numbers(measures, "PixelSpacing"),
            values,
        )


def _slices(path: Path, header: Any) -> list[Slice]:
    planes = list(_places(header))
    if int(header.get("NumberOfFrames") or 1) != len(planes):
        raise InputError(f"{path}: {header.NumberOfFrames} frames without a place for each; expected an Enhanced CT or one slice a file")
    found = []
    for frame, (position, orientation, spacing, values) in enumerate(planes):
        for tag, numbers, count in (
            ("ImagePositionPatient", position, 3),
            ("ImageOrientationPatient", orientation, 6),
            ("PixelSpacing", spacing, 2),
        ):
            if numbers.size != count or not np.isfinite(numbers).all():
                raise GeometryError(f"{path}: {tag} is missing or malformed; without it a slice has no place in space")
        slope, intercept = (_numbers(values, tag) for tag in ("RescaleSlope", "RescaleIntercept"))
        found.append(
            Slice(
                path,
                frame,
                position,
                orientation,
                (float(spacing[0]), float(spacing[1])),
                (int(header.Rows), int(header.Columns)),
                float(slope[0]) if slope.size else 1.0,
                float(intercept[0]) if intercept.size else 0.0,
            )
        )
    return found


def _numbers(holder: Any, tag: str) -> Any:
    """The numbers of an element; none where it is missing or holds something else."""
    value = None if holder is None else holder.get(tag)
    try:
        return np.array([] if value is None else np.atleast_1d(np.asarray(value, np.float64)), np.float64)
    except (TypeError, ValueError):
        return np.array([])
