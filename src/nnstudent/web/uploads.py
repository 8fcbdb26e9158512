"""Uploads: what was sent is checked for a scan, unpacked if need be, and named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

from nnstudent.errors import InputError, NnStudentError
from nnstudent.io.archive import checked_entries, unpack
from nnstudent.io.atomic import write_json
from nnstudent.io.dicom.read import kind_of, read_header
from nnstudent.web.forms import disk_name, receive_form
from nnstudent.web.job import NAMES, Kind
from nnstudent.web.jobs import Draft, Jobs
from nnstudent.web.names import (
    ARCHIVE,
    IMAGES,
    common_folder,
    display_path,
    image_name,
    series_name,
)
from nnstudent.web.settings import Limits

_HEADERS = 20  # files that are searched for a description of the series


async def receive_files(
    stream: AsyncIterator[bytes], content_type: str, folder: Path, limits: Limits
) -> list[tuple[str, Path]]:
    """Write the files of a multipart body to a folder.

    Args:
        stream: The body.
        content_type: Its ``Content-Type``, which names the boundary.
        folder: The folder.
        limits: Limits of size and number of files; nothing is read beyond them.

    Returns:
        For each file, the sender's name and its path.

    Raises:
        InputError: It is not a well-formed multipart body of files.
        TooLargeError: There are too many files, or they are too large.
    """
    form = await receive_form(stream, content_type, folder, limits, files=("files",))
    return [(file.name, file.path) for file in form.files]


def classify_upload(
    files: list[tuple[str, Path]], draft: Draft, jobs: Jobs, limits: Limits
) -> tuple[str, Kind]:
    """Find out what was sent, and leave only the scan in the draft; an archive is unpacked.

    Args:
        files: From :func:`receive_files`.
        draft: Where they are.
        jobs: Reserves disk space for unpacking.
        limits: Limits of size and number of files.

    Returns:
        Name to display, and kind of scan.

    Raises:
        InputError: It cannot be segmented.
        FullError: There is not enough disk space for unpacking.
    """
    archive_name = ""
    if len(files) == 1 and files[0][1].name.endswith(ARCHIVE):
        ((archive_name, received),) = files
        archive = received.rename(draft.folder / f"archive{ARCHIVE}")
        wanted = checked_entries(archive, most_files=limits.files, most_bytes=limits.upload_bytes)
        jobs.reserve(draft, archive.stat().st_size + sum(item.file_size for item in wanted))
        files = unpack(archive, wanted, draft.input, disk_name=disk_name)
        archive.unlink()
    if not files:
        raise InputError(
            "no file; expected one image file, the files of a DICOM folder, or a ZIP archive of "
            "either"
        )
    if any(path.name.endswith(ARCHIVE) for _, path in files):
        raise InputError(
            f"an archive among {len(files)} files; send it alone, or the files themselves"
        )
    images = [(name, path) for name, path in files if path.name.endswith(IMAGES)]
    if len(images) > 1 or (images and len(files) > 1):
        others = (
            f"{len(images)} image files"
            if len(images) > 1
            else f"an image file among {len(files)} files"
        )
        raise InputError(
            f"{others}; expected one image file, or the files of one DICOM folder, for each job"
        )
    if images:
        ((name, path),) = images
        check_image(path)
        return image_name(f"{archive_name}/{name}"), "image"
    if not any(kind_of(path) == "dicom" for _, path in files):
        sent = (
            "one file, which is not DICOM"
            if len(files) == 1
            else f"{len(files)} files, none of them DICOM"
        )
        raise InputError(
            f"{sent}; expected {', '.join(IMAGES)}, the files of a DICOM folder, or a ZIP archive "
            "of either"
        )
    write_json(draft.folder / NAMES, {path.name: display_path(name) for name, path in files})
    names = [name for name, _ in files]
    folder = names[0] if len(names) == 1 else common_folder(names)
    description = _series_description([path for _, path in files])
    return series_name(f"{archive_name}/{folder}", description=description), "dicom"


def _series_description(paths: Sequence[Path]) -> str:
    """Return the description of a series, from the first of its files that can be read."""
    for path in paths[:_HEADERS]:
        if kind_of(path) == "dicom":
            with suppress(NnStudentError):
                header, _ = read_header(path, ["SeriesDescription"])
                return str(header.get("SeriesDescription") or "")
    return ""


def check_image(path: Path) -> None:
    """Check that the file's first bytes match its suffix; the worker checks everything else."""
    with path.open("rb") as file:
        head = file.read(4)
    packed = path.name.endswith((".gz", ".mgz"))
    if len(head) < 4 or packed != (head[:2] == b"\x1f\x8b"):
        raise InputError(
            "an image file whose content does not match its suffix; "
            "use the suffix that it was written with"
        )
