"""Reads what a DICOM object copies from the series that it is made from, and nothing else.

Values are checked before they are copied: an object must be valid even where its source is not.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.errors import InputError
from nnstudent.io.dicom.headers import TAGS, Header
from nnstudent.io.dicom.read import quiet, read_header
from nnstudent.io.dicom.series import Series
from nnstudent.io.dicom.text import Texts, fitting_character_set, raw_text, read_texts

# What the patient and general study modules require of an object, even where it is empty.
_TEXTS = ("PatientName", "PatientID", "AccessionNumber", "ReferringPhysicianName", "StudyID")
_CODED = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime")
COPIED = (*_TEXTS, *_CODED)
CT_IMAGE, ENHANCED_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
_SERIES_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_FILE_UIDS = ("SOPClassUID", "SOPInstanceUID")
# The standard forbids leading zeros, but they are common, and a reference must repeat them.
_UID = re.compile(r"\d+(\.\d+)+")
_TAGS = (*TAGS, *COPIED, *_SERIES_UIDS, "SpecificCharacterSet", "LossyImageCompression")
_DAY = re.compile(r"(\d{4})[-./]?(0[1-9]|1[0-2])[-./]?(0[1-9]|[12]\d|3[01])")
_TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(\.\d{1,6})?)?)?")


@dataclass(frozen=True, eq=False)
class File:
    """A file of the series.

    Attributes:
        sop_class: SOP class UID.
        uid: SOP instance UID.
        frames: Position of each frame, LPS, mm; empty for a file of one plane.
    """

    sop_class: str
    uid: str
    frames: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, eq=False)
class Origin:
    """What objects copy from their series; every value may be written as it is.

    Attributes:
        study: Study instance UID.
        series: Series instance UID.
        frame_of_reference: Frame of reference UID.
        number: Series number; 0 if the series has none.
        files: The files, in the order of the slices.
        texts: Names and numbers of patient and study.
        coded: Dates, times and sex; empty if they are missing or malformed.
        thickness_mm: Slice thickness; the distance between slices if the series does not state it.
        lossy: Whether the pixels were compressed with loss.
        warnings: What a reader should know, one line each.
    """

    study: str
    series: str
    frame_of_reference: str
    number: int
    files: Mapping[Path, File]
    texts: Texts
    coded: Mapping[str, str]
    thickness_mm: float
    lossy: bool = False
    warnings: tuple[str, ...] = ()

    def describe(self, dataset: Any, more: Iterable[str] = ()) -> None:
        """Write patient and study into a data set.

        Args:
            dataset: The pydicom data set.
            more: Other texts of the data set, which its character set must be able to write.
        """
        terms = fitting_character_set(self.texts, list(more))
        if terms:
            dataset.SpecificCharacterSet = list(terms) if len(terms) > 1 else terms[0]
        elif "SpecificCharacterSet" in dataset:
            del dataset.SpecificCharacterSet
        for keyword, value in {
            **self.texts.values,
            **self.coded,
            "StudyInstanceUID": self.study,
        }.items():
            setattr(dataset, keyword, value)


def read_origin(series: Series, *, new_uids: bool = False) -> Origin:
    """Read the headers of a series again for what objects copy from it.

    Args:
        series: The series.
        new_uids: Derive UIDs that are missing or malformed from the content. The same series
            always gets the same ones.

    Raises:
        InputError: UIDs are missing or malformed, or files contradict each other. The message
            names all of them.
    """
    paths = list(dict.fromkeys(item.path for item in series.stack.slices))
    with quiet():
        headers = {path: read_header(path, tuple(dict.fromkeys(_TAGS)))[0] for path in paths}
        uids = _Uids(headers)
        uids.check(paths[0].parent, derive=new_uids)
        derived = uids.derived(series) if new_uids else {}
        first = headers[paths[0]]
        texts = read_texts(first, _TEXTS)
        coded, odd = _read_coded(first)
        gaps = uids.gaps()
        if gaps:
            odd.append(
                f"{'; '.join(gaps)}: derived from the content for the DICOM output; "
                "the source itself was not changed"
            )
        files = {path: _file(headers[path], path, uids, derived) for path in paths}
        return Origin(
            **{
                name: uids.of_series(keyword) or derived[keyword]
                for name, keyword in zip(_NAMES, _SERIES_UIDS, strict=True)
            },
            number=_number(first),
            files=files,
            texts=texts,
            coded=coded,
            thickness_mm=_thickness(first, series),
            lossy=any(
                _coded_text(header, "LossyImageCompression") == "01" for header in headers.values()
            ),
            warnings=(*texts.warnings, *odd),
        )


_NAMES = ("study", "series", "frame_of_reference")


class _Uids:
    """The UIDs in the headers of a series."""

    def __init__(self, headers: Mapping[Path, Any]) -> None:
        self._read = {
            path: {
                **{keyword: _uid(header, keyword) for keyword in (*_SERIES_UIDS, *_FILE_UIDS)},
                # Not a UID, but files of two patients contradict each other just as well.
                "PatientID": _coded_text(header, "PatientID"),
            }
            for path, header in headers.items()
        }

    def of_series(self, keyword: str) -> str | None:
        """The UID that all files share; None if one of them lacks it or has a malformed one."""
        found = {uids[keyword] for uids in self._read.values()}
        return next(iter(found)) or None if len(found) == 1 else None

    def of_file(self, path: Path, keyword: str) -> str | None:
        return self._read[path][keyword] or None

    def gaps(self) -> list[str]:
        """What is missing or malformed, one entry per keyword."""
        gaps = []
        for keyword in (*_SERIES_UIDS, *_FILE_UIDS):
            found = [uids[keyword] for uids in self._read.values()]
            bad = sum(not uid for uid in found)
            if bad:
                how = "malformed" if "" in found else "missing"
                gaps.append(
                    f"{keyword} is {how}"
                    + (f" in {bad} of {len(found)} files" if bad < len(found) else "")
                )
        return gaps

    def check(self, where: Path, *, derive: bool) -> None:
        """Refuse files that contradict each other and, unless it is to be derived, what is missing.

        Raises:
            InputError: There is such a contradiction or gap.
        """
        differing = [
            keyword
            for keyword in (*_SERIES_UIDS, "PatientID")
            if len({uids[keyword] for uids in self._read.values()} - {None, ""}) > 1
        ]
        if differing:
            raise InputError(
                f"{where}: {', '.join(differing)} differ{'s' if len(differing) == 1 else ''} "
                "between the files of the series, so no DICOM object can refer to it; "
                "separate them, or write nifti or seg.nrrd"
            )
        if self.gaps() and not derive:
            raise InputError(
                f"{where}: {', '.join(self.gaps())}, so no DICOM object can refer to the series; "
                "derive what is missing from the content with --new-uids, "
                "or write nifti or seg.nrrd"
            )

    def derived(self, series: Series) -> dict[str | Path, str]:
        """A UID for each keyword and file, derived from the content and not from file names."""
        if not self.gaps():
            return {}
        content = hashlib.sha256(np.ascontiguousarray(series.volume.array).data)
        content.update(np.round(series.volume.grid.affine, 3).tobytes())
        for uids in self._read.values():
            content.update(
                repr(sorted((key, value) for key, value in uids.items() if value)).encode()
            )

        def uid(what: str) -> str:
            digest = hashlib.sha256(content.digest() + what.encode()).digest()
            return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"

        derived: dict[str | Path, str] = {keyword: uid(keyword) for keyword in _SERIES_UIDS}
        for number, path in enumerate(self._read):
            derived[path] = uid(f"SOPInstanceUID {number}")
        return derived


def _uid(header: Any, keyword: str) -> str | None:
    """A UID; None if it is missing, empty if it is malformed."""
    try:
        raw = raw_text(header, keyword)
    except ValueError:
        return ""
    if raw is None:  # the file meta information repeats it
        meta = getattr(header, "file_meta", None)
        raw = (
            str(meta.get(f"MediaStorage{keyword}") or "").encode()
            if meta is not None and keyword in _FILE_UIDS
            else None
        )
    if not raw:
        return None
    text = raw.decode("ascii", "replace").strip()
    return text if _UID.fullmatch(text) and len(text) <= 64 else ""


def _file(header: Any, path: Path, uids: _Uids, derived: Mapping[str | Path, str]) -> File:
    frames: tuple[tuple[float, ...], ...] = ()
    if "PerFrameFunctionalGroupsSequence" in header:
        places = [plane.position for plane in Header.of(header, path).planes]
        frames = tuple(tuple(map(float, place)) for place in places if place is not None)
    sop_class = uids.of_file(path, "SOPClassUID") or (ENHANCED_CT_IMAGE if frames else CT_IMAGE)
    return File(sop_class, uids.of_file(path, "SOPInstanceUID") or derived[path], frames)


def _coded_text(header: Any, keyword: str) -> str:
    try:
        return (raw_text(header, keyword) or b"").decode("ascii", "replace").strip()
    except ValueError:
        return "\ufffd"


def _number(header: Any) -> int:
    text = _coded_text(header, "SeriesNumber")
    return int(text) if re.fullmatch(r"\d{1,9}", text) else 0


def _thickness(header: Any, series: Series) -> float:
    shared, per_frame = (
        header.get(f"{name}FunctionalGroupsSequence") or [] for name in ("Shared", "PerFrame")
    )
    measures = [
        item
        for group in (*per_frame[:1], *shared[:1])
        for item in group.get("PixelMeasuresSequence") or ()
    ]
    text = next(
        (text for holder in (header, *measures) if (text := _coded_text(holder, "SliceThickness"))),
        "",
    )
    if (
        re.fullmatch(r"\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", text)
        and 0.01 <= float(text) <= 1000
    ):
        return float(text)
    return series.volume.spacing_mm[0]


def _read_coded(header: Any) -> tuple[dict[str, str], list[str]]:
    """Dates, times and sex as the standard writes them, and a warning for each malformed one."""
    values, odd = {}, []
    for keyword in _CODED:
        given = _coded_text(header, keyword)
        if keyword == "PatientSex":
            value = given.upper() if given.upper() in ("M", "F", "O") else ""
        else:
            match = (_TIME if keyword == "StudyTime" else _DAY).fullmatch(given)
            value = "".join(part or "" for part in match.groups()) if match else ""
        values[keyword] = value
        if given and not value:
            odd.append(f"{keyword} of the series is malformed; it is left empty")
    return values, odd
