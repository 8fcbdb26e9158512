"""Which files of a folder are the CT series: found among reports, localizers, screenshots and other series."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.errors import GeometryError, InputError, require
from nnstudent.io.dicom_groups import TAGS, Group, best, candidates, is_ct, listed, numbers_of, places_of
from nnstudent.io.dicom_stack import Slice


@dataclass(frozen=True, eq=False)
class Found:
    """The CT series that was chosen.

    Attributes:
        slices: Its planes, in no order.
        warnings: Which other series were passed over.
    """

    slices: tuple[Slice, ...]
    warnings: tuple[str, ...]


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


def find_series(folder: Path, *, series: str | None = None, ask: bool = True) -> Found:
    """Find the CT series in a folder and the folders below it.

    Localizers, screenshots, reports, other modalities and files that are no DICOM are passed over. Of several CT series those
    are preferred that have at least three slices at different places, then those that are axial, then those that are
    not derived from others; if one remains it is taken. If several remain, the rule of :func:`~nnstudent.io.dicom_groups.best`
    takes one where nobody can be asked.

    Args:
        folder: The folder.
        series: Number or UID of the series to take.
        ask: Whether somebody can be asked to name a series if several could be meant.

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
        group = _named(folder, groups, series) if series else _only(folder, groups) if ask else best(groups)
        slices = tuple(item for path, header in zip(group.paths, group.headers, strict=True) for item in _slices(path, header))
    others = [other for other in groups if other is not group]
    told = f"took CT series {group}; passed over {listed(others)}" + ("; --series takes another" if ask else "")
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
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
        except pydicom.errors.InvalidDicomError:
            continue
        except (OSError, EOFError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
            raise InputError(f"{path}: damaged DICOM ({type(error).__name__}); copy the series again") from error
        if header.get("Rows") and header.get("Columns"):  # reports, plans and DICOMDIR have none
            found.append((path, header))
    if not found:
        raise InputError(f"{folder}: no DICOM image in it; expected the folder of a CT series")
    return found


def _groups(folder: Path, headers: Iterable[tuple[Path, Any]]) -> list[Group]:
    groups: dict[str, Group] = {}
    others = set()
    for path, header in headers:
        if is_ct(header):
            uid = str(header.get("SeriesInstanceUID", ""))
            group = groups.setdefault(uid, Group(uid))
            group.headers.append(header)
            group.paths.append(path)
        else:
            others.add(str(header.get("Modality") or "unknown"))
    if not groups:
        raise InputError(f"{folder}: no CT series in it (modality {', '.join(sorted(others))}, or localizers); expected CT")
    return sorted(groups.values(), key=lambda group: group.order)


def _named(folder: Path, groups: Sequence[Group], series: str) -> Group:
    named = [group for group in groups if series in (group.uid, group.number)]
    if not named:
        raise InputError(f"{folder}: no CT series {series}; it holds {listed(groups)}")
    if len(named) > 1:
        raise InputError(f"{folder}: {len(named)} CT series have the number {series}; give --series the series instance UID")
    return named[0]


def _only(folder: Path, groups: Sequence[Group]) -> Group:
    left = candidates(groups)
    if len(left) > 1:
        raise InputError(f"{folder}: holds {len(left)} CT series that could be meant ({listed(left)}); name one by --series NUMBER or UID")
    return left[0]


def _slices(path: Path, header: Any) -> list[Slice]:
    planes = list(places_of(header))
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
        slope, intercept = (numbers_of(values, tag) for tag in ("RescaleSlope", "RescaleIntercept"))
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
