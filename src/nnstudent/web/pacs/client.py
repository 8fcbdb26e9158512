"""A PACS over DICOMweb.

Studies are found by QIDO-RS, the CT series to segment is fetched by WADO-RS, and the result is
stored by STOW-RS. No message names a patient or a UID.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from nnstudent.errors import InputError
from nnstudent.web.pacs.choose import choose_series
from nnstudent.web.pacs.dicom_json import is_uid, number, value, values
from nnstudent.web.pacs.dicomweb import CHUNK, DicomWeb
from nnstudent.web.pacs.errors import PacsError, UnreachableError
from nnstudent.web.pacs.multipart import Parts
from nnstudent.web.settings import Limits

# Called with the images fetched and the images in all (0: unknown); raises to stop the fetching.
FetchProgress = Callable[[int, int], None]

_FAILED = "00081198"  # FailedSOPSequence
_FAILURE_REASON = "00081197"  # FailureReason


@dataclass(frozen=True)
class Study:
    """A study of a PACS, without anything that identifies the patient.

    Attributes:
        uid: Study instance UID.
        date: YYYYMMDD, or empty.
        time: HHMMSS, or empty.
        accession: Accession number, or empty.
        modalities: Modalities of its series.
        images: Number of its images; None if the PACS does not say.
    """

    uid: str
    date: str
    time: str
    accession: str
    modalities: tuple[str, ...]
    images: int | None


class PacsClient:
    """The studies of a PACS. Every method may be called from any thread."""

    def __init__(self, web: DicomWeb) -> None:
        """Take the PACS's DICOMweb service; nothing is sent yet."""
        self._web = web
        self.url = web.url

    def studies(self, *, days: int = 7, limit: int = 50, accession: str = "") -> list[Study]:
        """List the studies with CT of the last days, newest first.

        Args:
            days: Today and this many days before it.
            limit: Most studies to return.
            accession: If given, only studies with this accession number, of any day.

        Raises:
            PacsError: The PACS cannot be reached, or its response is unusable.
        """
        today = date.today()
        when = {"StudyDate": f"{today - timedelta(days):%Y%m%d}-{today:%Y%m%d}"}
        filters = {"AccessionNumber": accession} if accession else when
        fields = {"includefield": "00201208", "ModalitiesInStudy": "CT", "limit": str(limit)}
        found = [
            Study(
                uid=str(value(row, "0020000D")),
                date=str(value(row, "00080020") or ""),
                time=str(value(row, "00080030") or "").partition(".")[0],
                accession=str(value(row, "00080050") or ""),
                modalities=tuple(str(value) for value in values(row, "00080061")),
                images=number(value(row, "00201208")),
            )
            for row in self._web.retry(lambda: self._web.query("/studies", {**filters, **fields}))
        ]
        # Some PACS ignore the filter by modality.
        found = [study for study in found if is_uid(study.uid) and "CT" in study.modalities]
        return sorted(found, key=lambda study: (study.date, study.time), reverse=True)[:limit]

    def fetch(
        self,
        study: str,
        folder: Path,
        *,
        limits: Limits,
        progress: FetchProgress = lambda done, total: None,
    ) -> list[str]:
        """Fetch the CT series to segment into a folder, under names of our own.

        If a study has several, :func:`~nnstudent.io.dicom.groups.best` chooses one by their
        headers; the others are not fetched.

        Args:
            study: Study instance UID.
            folder: Folder to write to; emptied before each attempt.
            limits: Limits of size, number of files and time; nothing is read beyond them.
            progress: Called after each piece.

        Returns:
            What the reader should know, one line each.

        Raises:
            InputError: ``study`` is not a UID, or the series exceeds a limit.
            PacsError: The PACS cannot be reached, its response is unusable, or the study has no CT.
        """
        if not is_uid(study):
            raise InputError("not a study instance UID; expected digits and dots")
        series, images, notes = self._web.retry(lambda: choose_series(self._web, study))
        deadline = time.monotonic() + limits.job_minutes * 60
        self._web.retry(
            lambda: self._fetch_series(
                f"/studies/{study}/series/{series}", folder, images, limits, deadline, progress
            )
        )
        return notes

    def store(self, study: str, path: Path) -> None:
        """Store a DICOM file in its study; storing it twice is harmless, because it is one object.

        Raises:
            PacsError: The PACS cannot be reached, or does not accept the file.
        """
        self._web.retry(lambda: self._store(study, path))

    def check(self) -> None:
        """Check once that a DICOMweb service answers.

        Raises:
            PacsError: It does not.
        """
        self._web.query("/studies", {"limit": "1"})

    def _fetch_series(
        self,
        path: str,
        folder: Path,
        images: int | None,
        limits: Limits,
        deadline: float,
        progress: FetchProgress,
    ) -> None:
        for old in folder.iterdir():
            old.unlink()
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        with self._web.request("GET", path, accept=accept, missing="has no such series") as answer:
            size = 0
            with Parts(folder, answer.headers.get("Content-Type", ""), most=limits.files) as parts:
                for chunk in answer.stream(CHUNK):
                    size += len(chunk)
                    if size > limits.upload_bytes:
                        raise InputError(
                            f"a series of more than {limits.upload_bytes / 1e6:.0f} MB; "
                            "raise --limit-upload, or send less"
                        )
                    if time.monotonic() > deadline:
                        raise PacsError(
                            f"{self._web.name} took longer than {limits.job_minutes:g} minutes to "
                            "send "
                            "a series"
                        )
                    parts.write(chunk)
                    progress(parts.count, images or 0)
        if not parts.ended or parts.count < (images or 1):
            raise UnreachableError(
                f"{self._web.name} sent {parts.count} images of {images or 'a series'}, then "
                "closed "
                "the connection"
            )

    def _store(self, study: str, path: Path) -> None:
        boundary = secrets.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()

        def body() -> Iterator[bytes]:
            yield head
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
            yield tail

        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(len(head) + path.stat().st_size + len(tail)),
        }
        with self._web.request(
            "POST",
            f"/studies/{study}",
            accept="application/dicom+json",
            headers=headers,
            body=body(),
            accepted_statuses=(202, 409),
            missing="has no such study",
        ) as answer:
            content = self._web.read_body(answer)
        try:
            outcome = json.loads(content) if content else {}
            failed = outcome.get(_FAILED, {}).get("Value", [])
            reason = "".join(
                f", reason {int(value(item, _FAILURE_REASON) or 0):#06x}" for item in failed[:1]
            )
        except (ValueError, AttributeError, TypeError, RecursionError):
            failed, reason = [], ""  # some PACS always answer in XML; the status says enough
        if failed or answer.status == 409:
            raise PacsError(
                f"{self._web.name} does not store the segmentation (HTTP {answer.status}{reason})"
            )
