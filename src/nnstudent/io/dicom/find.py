"""Finds the CT series in a folder, among reports, localizers, screenshots and other series.

What is passed over is named. A file that is damaged or cannot be read refuses the series that it
may belong to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nnstudent.errors import GeometryError, InputError, require
from nnstudent.io.dicom.contents import Contents, read_contents, refusal, shorten
from nnstudent.io.dicom.groups import Group, best, candidates, describe_groups
from nnstudent.io.dicom.headers import Header, Plane
from nnstudent.io.dicom.hu import check_values
from nnstudent.io.dicom.parts import divide
from nnstudent.io.dicom.read import DamagedError, quiet, read_header
from nnstudent.io.dicom.slices import Slice, turned_warning
from nnstudent.io.dicom.values import Values

_SORTS = {"localizer": "localizer", "capture": "screenshot"}


@dataclass(frozen=True, eq=False)
class FoundSeries:
    """The CT series that was chosen.

    Attributes:
        slices: Its planes, in no order.
        warnings: What was passed over, and what is unusual about the values, one line each.
        differences: What differs between the planes and may mean that they are several volumes;
            empty if nothing does.
        conflict: Whether these differences forbid taking an irregular stack for one volume.
    """

    slices: tuple[Slice, ...]
    warnings: tuple[str, ...]
    differences: str = ""
    conflict: bool = False


def find_series(folder: Path, *, series: str | None = None, ask: bool = True) -> FoundSeries:
    """Find the CT series in a folder and the folders below it, or in one file of many frames.

    Localizers, screenshots, reports, other modalities and files that are not DICOM are passed over
    and named. A series that holds several volumes (see :func:`~nnstudent.io.dicom.parts.divide`)
    counts as several. Among several CT series, those with at least three slices at different
    positions are preferred, then axial ones, then those that are not derived from others. If
    several remain and nobody can be asked, :func:`~nnstudent.io.dicom.groups.best` chooses one.

    Args:
        folder: The folder, or the file.
        series: Number or UID of the series to take; ``2.1`` for the first of several volumes in
            series 2.
        ask: Whether somebody can be asked to name a series if several could be meant.

    Raises:
        InputError: There is no CT series, several could be meant, none is ``series``, a file that
            may belong to it is damaged, or the values of its slices differ in meaning.
        GeometryError: An image of the series does not state its position.
        MissingExtraError: pydicom is not installed.
    """
    require("pydicom", extra="dicom", why="reading DICOM")
    if not (folder.is_dir() or folder.is_file()):
        raise InputError(f"{folder}: no such folder; expected the folder of a DICOM series")
    with quiet():
        contents = read_contents(folder)
        if folder.is_file() and any(len(header.planes) == 1 for header in contents.headers):
            raise single_file(folder)
        groups, left_out = _groups(folder, contents)
        choose = _only if ask else _best
        group = _named(folder, groups, series) if series else choose(folder, groups)
    spared = _check_faults(group, contents)
    others = [other for other in groups if other is not group]
    warnings = []
    if others and not series:
        warnings.append(
            f"took CT series {group}; passed over {describe_groups(others)}"
            + ("; --series takes another" if ask else "")
        )
    if left_out.get(group.uid):
        warnings.append(turned_warning(left_out[group.uid]))
    warnings += _passed_over(contents, spared)
    slices = tuple(_slice(plane) for plane in group.planes)
    warnings += check_values(folder, group.planes)
    return FoundSeries(slices, tuple(warnings), group.differences, group.conflict)


def single_file(path: Path) -> InputError:
    """Return the error for a file that is one slice of a series."""
    return InputError(
        f"{path}: is one file of a DICOM series; give the folder that holds the series: "
        f"{path.parent}"
    )


def has_frames(path: Path) -> bool:
    """Whether a DICOM file holds several frames.

    Raises:
        InputError: It is damaged.
        MissingExtraError: pydicom is not installed.
    """
    with quiet():
        dataset, _ = read_header(path, ("NumberOfFrames",))
        return Values(dataset, str(path)).trait("NumberOfFrames") not in ("", "0", "1")


def _groups(folder: Path, contents: Contents) -> tuple[list[Group], Counter[str]]:
    """The volumes of all CT series, and how many images of each series belong to none."""
    series: dict[str, list[Header]] = {}
    for header in contents.headers:
        if header.sort == "ct":
            series.setdefault(header.series, []).append(header)
    if not series and contents.faults:
        raise refusal(contents.faults)
    if not series:
        others = sorted({header.modality for header in contents.headers})
        raise InputError(
            f"{folder}: no CT series in it (modality {', '.join(others)}, or localizers); "
            "expected CT"
        )
    groups: list[Group] = []
    left_out: Counter[str] = Counter()
    for uid, headers in series.items():
        parts, left_out[uid] = _divided(Group.of(uid, headers))
        groups += parts
    return sorted(groups, key=lambda group: group.order), left_out


def _divided(group: Group) -> tuple[list[Group], int]:
    """The volumes of a series; the series itself if a plane does not state its position."""
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
            differences=part.differences,
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
        raise InputError(f"{folder}: no CT series {series}; it holds {describe_groups(groups)}")
    if len(named) > 1 and len({group.uid for group in named}) > 1:
        raise InputError(
            f"{folder}: {len(named)} CT series have the number {series}; "
            "give --series the series instance UID"
        )
    if len(named) > 1:
        raise InputError(
            f"{folder}: CT series {series} holds {len(named)} volumes ({describe_groups(named)}); "
            "name one by --series NUMBER"
        )
    return named[0]


def _only(folder: Path, groups: Sequence[Group]) -> Group:
    left = candidates(groups)
    if len(left) > 1:
        raise InputError(
            f"{folder}: holds {len(left)} CT series that could be meant "
            f"({describe_groups(left)}); name one by --series NUMBER or UID"
        )
    return left[0]


def _best(_: Path, groups: Sequence[Group]) -> Group:
    return best(groups)


def _check_faults(group: Group, contents: Contents) -> list[DamagedError]:
    """Refuse the series if a damaged file may belong to it, and return the files that do not.

    A file that does not state its series may belong to those in the same folder, or to any series
    if there are none.

    Raises:
        InputError: A damaged file may belong to the series.
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
            reason = f"damaged DICOM (Modality is {header.modality}, in the rest of its series CT)"
            refusing.append(DamagedError(header.path, reason))
    if refusing:
        raise refusal(refusing)
    return spared


def _passed_over(contents: Contents, spared: Sequence[DamagedError]) -> list[str]:
    """What was passed over, one line per kind."""
    lines = []
    if contents.passed_over:
        names = shorten(contents.passed_over)
        lines.append(f"passed over files that are not DICOM images: {names}")
    others = Counter(
        _SORTS.get(header.sort, header.modality)
        for header in contents.headers
        if header.sort != "ct"
    )
    if others:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(others.items()))
        lines.append(f"passed over other DICOM: {counts}")
    if spared:
        names = shorten([fault.path.name for fault in spared])
        lines.append(f"passed over damaged files of other series: {names}")
    return lines


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
        path=plane.path,
        frame=plane.frame,
        position=position,
        orientation=orientation,
        spacing=(float(spacing[0]), float(spacing[1])),
        size=plane.size,
        slope=slope,
        intercept=intercept,
        instance=plane.instance,
        traits=plane.traits,
    )
