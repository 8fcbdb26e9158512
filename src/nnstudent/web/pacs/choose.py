"""The choice of the CT series to segment among those of a study in a PACS."""

from __future__ import annotations

from nnstudent.errors import require
from nnstudent.io.dicom.groups import Group, best, describe_groups
from nnstudent.io.dicom.headers import TAGS, Header
from nnstudent.io.dicom.read import quiet
from nnstudent.web.pacs.dicom_json import is_uid, number, value
from nnstudent.web.pacs.dicomweb import DicomWeb
from nnstudent.web.pacs.errors import PacsError

_SERIES = 50  # most CT series of a study that are compared


def choose_series(web: DicomWeb, study: str) -> tuple[str, int | None, list[str]]:
    """Choose the CT series to segment by the headers of its images, as from a folder.

    Returns:
        Its UID, the number of its images if known, and what the reader should know.

    Raises:
        PacsError: The PACS cannot be reached, its response is unusable, or there is no CT.
    """
    rows = web.query(
        f"/studies/{study}/series",
        {"Modality": "CT", "includefield": "00201209"},
        missing="has no such study",
    )
    counts = {
        str(value(row, "0020000E")): number(value(row, "00201209"))
        for row in rows
        if value(row, "00080060") in ("CT", None)
    }
    counts = {uid: count for uid, count in counts.items() if is_uid(uid)}
    if not counts:
        raise PacsError(f"{web.name} has no CT series in this study, or no such study")
    if len(counts) > _SERIES:
        raise PacsError(
            f"{web.name} has {len(counts)} CT series in this study; expected at most "
            f"{_SERIES}, send the series to segment"
        )
    if len(counts) == 1:
        return (*next(iter(counts.items())), [])
    groups = sorted(
        (group for uid in counts if (group := _group(web, study, uid)) is not None),
        key=lambda group: group.order,
    )
    if not groups:
        raise PacsError(
            f"{web.name} has {len(counts)} CT series in this study, but none with slices of "
            "a patient"
        )
    with quiet():
        chosen = best(groups)
        others = [group for group in groups if group is not chosen]
        notes = (
            [f"took CT series {chosen}; passed over {describe_groups(others)}"] if others else []
        )
    return chosen.uid, counts[chosen.uid], notes


def _group(web: DicomWeb, study: str, series: str) -> Group | None:
    """Read the headers of a series' CT images; None if it has none."""
    pydicom = require("pydicom", extra="dicom", why="reading DICOM")
    wanted = {f"{pydicom.datadict.tag_for_keyword(keyword):08X}" for keyword in TAGS}
    rows = web.query(f"/studies/{study}/series/{series}/metadata", {})
    with quiet():
        try:
            headers = [
                pydicom.Dataset.from_json({tag: item for tag, item in row.items() if tag in wanted})
                for row in rows
            ]
            images = [
                Header.of(header)
                for header in headers
                if header.get("Rows") and header.get("Columns")
            ]
            found = [image for image in images if image.sort == "ct"]
        except Exception as error:  # any that a malformed value causes; its text would quote it
            raise PacsError(
                f"{web.name} sent headers that cannot be read ({type(error).__name__})"
            ) from None
    return Group.of(series, found) if found else None
