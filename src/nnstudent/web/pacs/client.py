"""A PACS over DICOMweb.

Studies are found by QIDO-RS, the CT series to segment is fetched by WADO-RS, and the result is
stored by STOW-RS. No message names a patient or a UID. Connections go only to the address given;
redirects and proxies are not used.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from nnstudent.errors import InputError, require
from nnstudent.io.dicom.find import quiet
from nnstudent.io.dicom.groups import Group, best, listed
from nnstudent.io.dicom.headers import TAGS, Header
from nnstudent.web.pacs.errors import PacsError, UnreachableError
from nnstudent.web.pacs.multipart import Parts
from nnstudent.web.settings import Limits

T = TypeVar("T")
# Called with the images fetched and the images in all (0: unknown); raises to stop the fetching.
FetchProgress = Callable[[int, int], None]

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_JSON_BYTES = 200_000_000  # for the headers of a series; an Enhanced CT has the longest
_ANSWER_SECONDS = 300.0  # for a whole response without images
_SERIES = 50  # most CT series of a study that are compared
_CHUNK = 1 << 16
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
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


def is_uid(text: str) -> bool:
    """Return whether a text is a UID."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


class PacsClient:
    """The DICOMweb service of a PACS. Every method may be called from any thread."""

    def __init__(
        self,
        url: str,
        *,
        authorization: str | None = None,
        waits: Sequence[float] = (1.0, 4.0),
        seconds: tuple[float, float] = (10.0, 60.0),
    ) -> None:
        """Prepare requests to a PACS; nothing is sent yet.

        Args:
            url: Root of its DICOMweb service, under which ``/studies`` is.
            authorization: Value of the ``Authorization`` header.
            waits: Seconds before each further attempt.
            seconds: Time limits for a connection and for each piece of a response.

        Raises:
            InputError: The address is malformed, or contains a user or password.
        """
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
        ):
            raise InputError(
                f"PACS {_without_user(url)}: expected the root of its DICOMweb service, "
                "such as https://pacs.example/dicom-web"
            )
        if "@" in parts.netloc:
            raise InputError(
                f"PACS {_without_user(url)}: others on this machine can see a user in the address; "
                "give it in ~/.netrc or the environment"
            )
        self.url = url.rstrip("/")
        self._name = f"the PACS at {self.url}"
        self._headers = {"Authorization": authorization} if authorization else {}
        self._waits = tuple(waits)
        timeout = urllib3.Timeout(connect=seconds[0], read=seconds[1])
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False, maxsize=4)

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
                uid=str(_value(row, "0020000D")),
                date=str(_value(row, "00080020") or ""),
                time=str(_value(row, "00080030") or "").partition(".")[0],
                accession=str(_value(row, "00080050") or ""),
                modalities=tuple(str(value) for value in _values(row, "00080061")),
                images=_number(_value(row, "00201208")),
            )
            for row in self._retry(lambda: self._query("/studies", {**filters, **fields}))
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
        series, images, notes = self._retry(lambda: self._choose_series(study))
        deadline = time.monotonic() + limits.job_minutes * 60
        self._retry(
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
        self._retry(lambda: self._store(study, path))

    def check(self) -> None:
        """Check once that a DICOMweb service answers.

        Raises:
            PacsError: It does not.
        """
        self._query("/studies", {"limit": "1"})

    def _choose_series(self, study: str) -> tuple[str, int | None, list[str]]:
        """Return the UID of the series to segment, its number of images if known, and notes."""
        rows = self._query(
            f"/studies/{study}/series",
            {"Modality": "CT", "includefield": "00201209"},
            missing="has no such study",
        )
        counts = {
            str(_value(row, "0020000E")): _number(_value(row, "00201209"))
            for row in rows
            if _value(row, "00080060") in ("CT", None)
        }
        counts = {uid: count for uid, count in counts.items() if is_uid(uid)}
        if not counts:
            raise PacsError(f"{self._name} has no CT series in this study, or no such study")
        if len(counts) > _SERIES:
            raise PacsError(
                f"{self._name} has {len(counts)} CT series in this study; expected at most "
                f"{_SERIES}, send the series to segment"
            )
        if len(counts) == 1:
            return (*next(iter(counts.items())), [])
        groups = sorted(
            (group for uid in counts if (group := self._group(study, uid)) is not None),
            key=lambda group: group.order,
        )
        if not groups:
            raise PacsError(
                f"{self._name} has {len(counts)} CT series in this study, but none with slices of "
                "a patient"
            )
        with quiet():
            chosen = best(groups)
            others = [group for group in groups if group is not chosen]
            notes = [f"took CT series {chosen}; passed over {listed(others)}"] if others else []
        return chosen.uid, counts[chosen.uid], notes

    def _group(self, study: str, series: str) -> Group | None:
        """Read the headers of a series' CT images; None if it has none."""
        pydicom = require("pydicom", extra="dicom", why="reading DICOM")
        wanted = {f"{pydicom.datadict.tag_for_keyword(keyword):08X}" for keyword in TAGS}
        rows = self._query(f"/studies/{study}/series/{series}/metadata", {})
        with quiet():
            try:
                headers = [
                    pydicom.Dataset.from_json(
                        {tag: item for tag, item in row.items() if tag in wanted}
                    )
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
                    f"{self._name} sent headers that cannot be read ({type(error).__name__})"
                ) from None
        return Group.of(series, found) if found else None

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
        with self._request("GET", path, accept=accept, missing="has no such series") as answer:
            size = 0
            with Parts(folder, answer.headers.get("Content-Type", ""), most=limits.files) as parts:
                for chunk in answer.stream(_CHUNK):
                    size += len(chunk)
                    if size > limits.upload_bytes:
                        raise InputError(
                            f"a series of more than {limits.upload_bytes / 1e6:.0f} MB; "
                            "raise --limit-upload, or send less"
                        )
                    if time.monotonic() > deadline:
                        raise PacsError(
                            f"{self._name} took longer than {limits.job_minutes:g} minutes to send "
                            "a series"
                        )
                    parts.write(chunk)
                    progress(parts.count, images or 0)
        if not parts.ended or parts.count < (images or 1):
            raise UnreachableError(
                f"{self._name} sent {parts.count} images of {images or 'a series'}, then closed "
                "the connection"
            )

    def _store(self, study: str, path: Path) -> None:
        boundary = secrets.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()

        def body() -> Iterator[bytes]:
            yield head
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
            yield tail

        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(len(head) + path.stat().st_size + len(tail)),
        }
        with self._request(
            "POST",
            f"/studies/{study}",
            accept="application/dicom+json",
            headers=headers,
            body=body(),
            accepted_statuses=(202, 409),
            missing="has no such study",
        ) as answer:
            content = self._read_body(answer)
        try:
            outcome = json.loads(content) if content else {}
            failed = outcome.get(_FAILED, {}).get("Value", [])
            reason = "".join(
                f", reason {int(_value(item, _FAILURE_REASON) or 0):#06x}" for item in failed[:1]
            )
        except (ValueError, AttributeError, TypeError, RecursionError):
            failed, reason = [], ""  # some PACS always answer in XML; the status says enough
        if failed or answer.status == 409:
            raise PacsError(
                f"{self._name} does not store the segmentation (HTTP {answer.status}{reason})"
            )

    def _query(
        self,
        path: str,
        fields: Mapping[str, str],
        *,
        missing: str = "has no DICOMweb service at this address",
    ) -> list[dict[str, Any]]:
        query = f"?{urlencode(fields)}" if fields else ""
        with self._request(
            "GET",
            path + query,
            accept="application/dicom+json",
            accepted_statuses=(204,),
            missing=missing,
        ) as answer:
            body = self._read_body(answer)
        try:
            rows = json.loads(body) if body else []
        except (ValueError, RecursionError):
            rows = None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise PacsError(
                f"{self._name} does not answer in DICOM JSON; "
                "expected the root of its DICOMweb service"
            )
        return rows

    def _read_body(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        body, deadline = bytearray(), time.monotonic() + _ANSWER_SECONDS
        for chunk in answer.stream(_CHUNK):
            body += chunk
            if len(body) > _JSON_BYTES:
                raise PacsError(
                    f"{self._name} answers with more than {_JSON_BYTES / 1e6:.0f} MB of headers"
                )
            if time.monotonic() > deadline:
                raise UnreachableError(
                    f"{self._name} took longer than {_ANSWER_SECONDS / 60:g} minutes to answer"
                )
        return bytes(body)

    @contextmanager
    def _request(
        self,
        method: str,
        path: str,
        *,
        accept: str,
        headers: Mapping[str, str] | None = None,
        body: Iterator[bytes] | None = None,
        accepted_statuses: Sequence[int] = (),
        missing: str,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send a request and yield the response, whose body is not read yet.

        Its status is 200 or one of ``accepted_statuses``.
        """
        answer: urllib3.BaseHTTPResponse | None = None
        try:
            answer = self._pool.request(
                method,
                self.url + path,
                headers={**self._headers, "Accept": accept, **(headers or {})},
                body=body,
                redirect=False,
                preload_content=False,
            )
            if answer.status != 200 and answer.status not in accepted_statuses:
                raise self._refusal(answer.status, missing)
            yield answer
        except SSLError as error:
            raise PacsError(
                f"{self._name}: no secure connection ({_reason(error)}); "
                "set SSL_CERT_FILE to the file of your certificate authority"
            ) from None
        except HTTPError as error:
            raise UnreachableError(
                f"{self._name} cannot be reached ({_reason(error)}); "
                "check that it is running and that the address is right"
            ) from None
        finally:
            if answer is not None:
                answer.close()  # reading the rest would cost more than a new connection

    def _refusal(self, status: int, missing: str) -> PacsError:
        if status in _TRANSIENT:
            return UnreachableError(
                f"{self._name} cannot answer now (HTTP {status}); its own log says why"
            )
        known = {
            401: "requires a login; give user and password in ~/.netrc or the environment",
            403: "does not allow this to the user given",
            404: missing,
        }
        if 300 <= status < 400:
            return PacsError(
                f"{self._name} redirects to another address (HTTP {status}); give that one"
            )
        return PacsError(f"{self._name} {known.get(status, 'refuses the request')} (HTTP {status})")

    def _retry(self, call: Callable[[], T]) -> T:
        for wait in self._waits:
            try:
                return call()
            except UnreachableError:
                time.sleep(wait)
        return call()


def _without_user(url: str) -> str:
    """Return an address without user and password."""
    return re.sub(r"//[^/]*@", "//", url)


def _value(row: Mapping[str, Any], tag: str) -> Any:
    """Return the first value of an element in DICOM JSON, or None."""
    return next(iter(_values(row, tag)), None)


def _values(row: Mapping[str, Any], tag: str) -> list[Any]:
    """Return the values of an element in DICOM JSON."""
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _reason(error: BaseException) -> str:
    """Return why a connection failed, without the library's addresses and places in code."""
    text = " ".join(str(error).split())
    system = re.search(r"\[(?:Errno -?\d+|SSL[^\]]*)\] ([^()']+)", text)
    return system[1].strip() if system else text[:150] or type(error).__name__
