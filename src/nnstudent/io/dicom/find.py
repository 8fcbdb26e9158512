"""Which files of a folder are the CT series: found among reports, localizers, screenshots and other series.

What is passed over is named. A file that is damaged or cannot be read refuses the series that it may belong to.
"""

from __future__ import annotations

import logging
import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from nnstudent.errors import GeometryError, InputError, require
from nnstudent.io.dicom.groups import Group, best, candidates, listed
from nnstudent.io.dicom.headers import TAGS, VALUES, Header, Plane
from nnstudent.io.dicom.parts import divide
from nnstudent.io.dicom.read import DamagedError, kind_of, read_header, series_of
from nnstudent.io.dicom.stack import Slice
from nnstudent.io.dicom.values import Values
from nnstudent.readable import readable

_SPECIAL, _HIDDEN = "no regular file", "a hidden folder"
_NAMED = 6  # files named in a message
_DICOMDIR = "1.2.840.10008.1.3.10"
_SORTS = {"localizer": "localizer", "capture": "screenshot"}
_HU = ("", "HU", "US")  # rescale types of a CT's values; US: not specified


@dataclass(frozen=True, eq=False)
class Found:
    """The CT series that was chosen.

    Attributes:
        slices: Its planes, in no order.
        warnings: What was passed over, and what is odd about the values, a line each.
        differ: In what the planes differ that could mean that they are several volumes; empty if in nothing.
        conflict: Whether planes that are no regular stack must not be taken for one volume, for what they differ in.
    """

    slices: tuple[Slice, ...]
    warnings: tuple[str, ...]
    differ: str = ""
    conflict: bool = False


@dataclass(eq=False)
class _Contents:
    """What lies in a folder."""

    headers: list[Header] = field(default_factory=list)
    faults: list[DamagedError] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)  # names of what is no DICOM


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
    """Whether DICOM files lie in a folder, told by their content; or files that end as such and are damaged.

    Args:
        folder: The folder.
        deep: Look into the folders below it too.
    """
    return any(_may_be_dicom(path) for path, problem in _files(folder, deep=deep) if not problem)


def find_series(folder: Path, *, series: str | None = None, ask: bool = True) -> Found:
    """Find the CT series in a folder and the folders below it.

    Localizers, screenshots, reports, other modalities and files that are no DICOM are passed over and named. A series that holds several
    volumes (see :func:`~nnstudent.io.dicom.parts.divide`) counts as several. Of several CT series those
    are preferred that have at least three slices at different places, then those that are axial, then those that are
    not derived from others; if one remains it is taken. If several remain, the rule of :func:`~nnstudent.io.dicom.groups.best`
    takes one where nobody can be asked.

    Args:
        folder: The folder.
        series: Number or UID of the series to take; ``2.1`` for the first of several volumes in series 2.
        ask: Whether somebody can be asked to name a series if several could be meant.

    Raises:
        InputError: There is no CT series, several could be meant, none is ``series``, a file that may belong to it is damaged, or its
            slices' values do not mean the same.
        GeometryError: An image of the series does not say where it lies.
        MissingExtraError: pydicom is not installed.
    """
    require("pydicom", extra="dicom", why="reading DICOM")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the folder of a DICOM series")
    with quiet():
        contents = _look(folder)
        groups, left_out = _groups(folder, contents)
        group = (
            _named(folder, groups, series)
            if series
            else _only(folder, groups)
            if ask
            else best(groups)
        )
    spared = _check_faults(group, contents)
    others = [other for other in groups if other is not group]
    told = []
    if others and not series:
        told.append(
            f"took CT series {group}; passed over {listed(others)}"
            + ("; --series takes another" if ask else "")
        )
    if left_out.get(group.uid):
        count = left_out[group.uid]
        told.append(
            f"{'1 image is' if count == 1 else f'{count} images are'} turned against the others, as localizers are, and left out"
        )
    told += _passed_over(contents, spared)
    slices = tuple(_slice(plane) for plane in group.planes)
    return Found(
        slices, (*told, *_check_values(folder, group.planes)), group.differ, group.conflict
    )


def _files(folder: Path, *, deep: bool = True) -> Iterator[tuple[Path, str]]:
    """Regular files in the order of their names, and of what else lies there why it is none; links are followed, pipes never opened."""
    waiting, seen = [folder], set()
    while waiting:
        here = waiting.pop()
        try:
            state = here.stat()
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            yield here, f"this folder cannot be read ({error.strerror})"
            continue
        if (state.st_dev, state.st_ino) in seen:  # a link to a folder above
            continue
        seen.add((state.st_dev, state.st_ino))
        below = []
        for entry in entries:
            path = here / entry.name
            try:
                mode = path.stat().st_mode
            except OSError as error:
                yield (
                    path,
                    f"cannot be read ({error.strerror}{', a link' if entry.is_symlink() else ''})",
                )
                continue
            if stat.S_ISDIR(mode) and path.name.startswith("."):
                yield path, _HIDDEN
            elif stat.S_ISDIR(mode):
                below.append(path)
            else:
                yield path, "" if stat.S_ISREG(mode) else _SPECIAL
        waiting += reversed(below if deep else [])


def _may_be_dicom(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    try:
        return kind_of(path) == "dicom" or path.suffix.lower() in (".dcm", ".ima")
    except OSError:
        return True


def _look(folder: Path) -> _Contents:
    contents = _Contents()
    for path, problem in _files(folder):
        name = str(path.relative_to(folder))
        if problem != _HIDDEN and path.name.startswith("."):
            contents.passed.append(f"{name} (a hidden file)")
        elif problem in (_SPECIAL, _HIDDEN):
            contents.passed.append(f"{name} ({problem})")
        elif problem:
            contents.faults.append(DamagedError(path, problem))
        else:
            try:
                kind = kind_of(path)
                if kind == "dicom":
                    _look_at(path, contents)
                elif kind == "blank":
                    raise DamagedError(
                        path,
                        "damaged (empty)"
                        if not path.stat().st_size
                        else "damaged (it begins with zeros only)",
                    )
                else:
                    contents.passed.append(name)
            except OSError as error:
                contents.faults.append(DamagedError(path, f"cannot be read ({error.strerror})"))
            except DamagedError as error:
                contents.faults.append(error)
    if not contents.headers and not contents.faults:
        raise InputError(f"{folder}: no DICOM image in it; expected the folder of a CT series")
    return contents


def _look_at(path: Path, contents: _Contents) -> None:
    dataset, pixels = read_header(path, TAGS)
    if Values(dataset.file_meta, str(path)).trait("MediaStorageSOPClassUID") == _DICOMDIR:
        contents.passed.append(path.name)
        return
    try:
        header = Header.of(dataset, path)
        if header.modality == "unknown" or (header.sort == "ct" and not pixels):
            raise DamagedError(
                path,
                f"damaged DICOM ({'it has no pixels' if header.sort == 'ct' else 'Modality is missing'})",
            )
    except InputError as error:
        raise DamagedError.of(error, path, series_of(dataset)) from error
    contents.headers.append(header)


def _groups(folder: Path, contents: _Contents) -> tuple[list[Group], Counter[str]]:
    """The volumes of CT, and how many images of each series belong to none."""
    series: dict[str, list[Header]] = {}
    for header in contents.headers:
        if header.sort == "ct":
            series.setdefault(header.series, []).append(header)
    if not series and contents.faults:
        raise _refusal(contents.faults)
    if not series:
        others = sorted({header.modality for header in contents.headers})
        raise InputError(
            f"{folder}: no CT series in it (modality {', '.join(others)}, or localizers); expected CT"
        )
    groups: list[Group] = []
    left_out: Counter[str] = Counter()
    for uid, headers in series.items():
        parts, left_out[uid] = _divided(Group.of(uid, headers))
        groups += parts
    return sorted(groups, key=lambda group: group.order), left_out


def _divided(group: Group) -> tuple[list[Group], int]:
    """A series as the volumes that it holds; as it is where a plane does not say where it lies."""
    if any(
        plane.position is None or plane.orientation is None or plane.spacing is None
        for plane in group.planes
    ):
        return [group], 0
    planes = {(plane.path, plane.frame): plane for plane in group.planes}
    parts, left_out = divide([_slice(plane) for plane in group.planes])
    several = len(parts) > 1
    return [
        replace(
            group,
            number=f"{group.number}.{place}" if several else group.number,
            planes=tuple(planes[item.path, item.frame] for item in part.slices),
            part=part.label,
            differ=part.differ,
            conflict=part.conflict,
        )
        for place, part in enumerate(parts, start=1)
    ], left_out


def _named(folder: Path, groups: Sequence[Group], series: str) -> Group:
    named = [group for group in groups if series == group.number]
    named = named or [
        group for group in groups if series in (group.uid, group.number.partition(".")[0])
    ]
    if not named:
        raise InputError(f"{folder}: no CT series {series}; it holds {listed(groups)}")
    if len(named) > 1 and len({group.uid for group in named}) > 1:
        raise InputError(
            f"{folder}: {len(named)} CT series have the number {series}; give --series the series instance UID"
        )
    if len(named) > 1:
        raise InputError(
            f"{folder}: CT series {series} holds {len(named)} volumes ({listed(named)}); name one by --series NUMBER"
        )
    return named[0]


def _only(folder: Path, groups: Sequence[Group]) -> Group:
    left = candidates(groups)
    if len(left) > 1:
        raise InputError(
            f"{folder}: holds {len(left)} CT series that could be meant ({listed(left)}); name one by --series NUMBER or UID"
        )
    return left[0]


def _check_faults(group: Group, contents: _Contents) -> list[DamagedError]:
    """Refuse the series if a damaged file may belong to it; those that do not.

    A file that does not tell its series belongs to those beside it in its folder; where none lies there, to any.
    """
    known = {header.series: None for header in contents.headers}
    beside: dict[Path, set[str]] = {}
    for header in contents.headers:
        beside.setdefault(header.path.parent, set()).add(header.series)
    refusing: list[DamagedError] = []
    spared: list[DamagedError] = []
    for fault in contents.faults:
        near = beside.get(fault.path.parent, set())
        mine = fault.series == group.uid if fault.series in known else not near or group.uid in near
        (refusing if mine else spared).append(fault)
    for header in contents.headers:
        if header.series == group.uid and header.modality != "CT" and header.image:
            reason = f"damaged DICOM (Modality is {header.modality}, of the rest of its series CT)"
            refusing.append(DamagedError(header.path, reason))
    if refusing:
        raise _refusal(refusing)
    return spared


def _refusal(faults: Sequence[DamagedError]) -> InputError:
    """The error of the first of several damaged files, with how many more there are."""
    text = str(faults[0])
    if len(faults) > 1:
        text += f" ({len(faults) - 1} more damaged: {_names([fault.path.name for fault in faults[1:]])})"
    return InputError(text)


def _passed_over(contents: _Contents, spared: Sequence[DamagedError]) -> list[str]:
    """What lies in the folder that was not looked at any further, a line each."""
    told = []
    if contents.passed:
        told.append(f"passed over what is no DICOM image: {_names(contents.passed)}")
    others = Counter(
        _SORTS.get(header.sort, header.modality)
        for header in contents.headers
        if header.sort != "ct"
    )
    if others:
        told.append(
            f"passed over other DICOM: {', '.join(f'{count} {name}' for name, count in sorted(others.items()))}"
        )
    if spared:
        told.append(
            f"passed over damaged files of other series: {_names([fault.path.name for fault in spared])}"
        )
    return told


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(" ".join(readable(name).split()) for name in names[:_NAMED]) + more


def _slice(plane: Plane) -> Slice:
    for tag, numbers in (
        ("ImagePositionPatient", plane.position),
        ("ImageOrientationPatient", plane.orientation),
        ("PixelSpacing", plane.spacing),
    ):
        if numbers is None:
            raise GeometryError(
                f"{plane.path}: {tag} is missing; without it a slice has no place in space"
            )
    position, orientation, spacing = plane.position, plane.orientation, plane.spacing
    if position is None or orientation is None or spacing is None:
        raise GeometryError(f"{plane.path}: has no place in space")
    slope = 1.0 if plane.slope is None else plane.slope
    intercept = 0.0 if plane.intercept is None else plane.intercept
    return Slice(
        plane.path, plane.frame, position, orientation, (float(spacing[0]), float(spacing[1])), plane.size, slope, intercept,
        plane.instance, plane.traits,
    )  # fmt: skip


def _check_values(folder: Path, planes: Sequence[Plane]) -> list[str]:
    """Refuse slices whose values do not mean the same; what is odd about them, a line each."""
    told = []
    for tag, given in (
        ("RescaleSlope", [plane.slope for plane in planes]),
        ("RescaleIntercept", [plane.intercept for plane in planes]),
    ):
        missing = [plane for plane, value in zip(planes, given, strict=True) if value is None]
        values = {value for value in given if value is not None}
        if missing and len(missing) < len(planes):
            raise InputError(
                f"{missing[0].path}: {tag} is missing in {len(missing)} of {len(planes)} slices; expected it in all or none, "
                "or their values differ in meaning; copy the series again"
            )
        if missing:
            told.append(
                f"no slice has {tag}: {'1' if tag == 'RescaleSlope' else '0'} was taken, as if the stored values were HU"
            )
        elif len(values) > 1:
            told.append(
                f"{tag} differs between slices, from {min(values):g} to {max(values):g}: each slice's own was taken"
            )
    for tag in VALUES:
        first = planes[0].traits.get(tag, "")
        other = next((plane for plane in planes if plane.traits.get(tag, "") != first), None)
        if other is not None and not (
            tag == "RescaleType" and {first, other.traits.get(tag, "")} <= set(_HU)
        ):
            words = [
                f"{plane.path.name}: {plane.traits.get(tag, '') or 'missing'}"
                for plane in (planes[0], other)
            ]
            raise InputError(
                f"{folder}: the slices of the series differ in {tag} ({', '.join(words)}); separate the two, or copy it again"
            )
    odd = planes[0].traits.get("RescaleType", "")
    if odd not in _HU:
        raise InputError(
            f"{planes[0].path}: RescaleType is {odd}: its values are no HU; expected a CT in HU"
        )
    if "ModalityLUTSequence" in planes[0].traits and planes[0].slope is None:
        raise InputError(
            f"{planes[0].path}: ModalityLUTSequence in place of RescaleSlope; expected HU as slope and intercept"
        )
    return told
