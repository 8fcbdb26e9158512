"""A PACS over DICOMweb: find studies (QIDO-RS), fetch the CT series that is meant (WADO-RS), store what was made of it (STOW-RS).

No message names a patient or a UID. Connections go to the one address that was given: redirects and proxies are not followed.
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
Going = Callable[
    [int, int], None
]  # told images fetched, images in all (0: unknown); raises to end the fetching

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_JSON_BYTES = 200_000_000  # of the headers of a series; those of an Enhanced CT are the longest
_ANSWER_SECONDS = 300.0  # for a whole answer without images
_SERIES = 50  # CT series of a study that are looked at
_CHUNK = 1 << 16
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_FAILED = "00081198"  # FailedSOPSequence
_REASON = "00081197"  # FailureReason


@dataclass(frozen=True)
class Study:
    """A study of a PACS, without anything that names the patient.

    Attributes:
        uid: Study instance UID.
        date: As YYYYMMDD, or nothing.
        time: As HHMMSS, or nothing.
        accession: Accession number, or nothing.
        modalities: Of its series.
        images: How many, None where the PACS does not say.
    """

    uid: str
    date: str
    time: str
    accession: str
    modalities: tuple[str, ...]
    images: int | None


def is_uid(text: str) -> bool:
    """Whether a text is a UID."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


class Pacs:
    """The DICOMweb service of a PACS. Every method may be called from any thread."""

    def __init__(
        self,
        url: str,
        *,
        authorization: str | None = None,
        waits: Sequence[float] = (1.0, 4.0),
        seconds: tuple[float, float] = (10.0, 60.0),
    ) -> None:
        """A PACS at an address; nothing is sent yet.

        Args:
            url: The root that ``/studies`` is under.
            authorization: Value of the header of that name.
            waits: Seconds before each further try.
            seconds: For a connection, and for each piece of an answer.

        Raises:
            InputError: It is no such address, or has a user and password in it.
        """
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
        ):
            raise InputError(
                f"PACS {_bare(url)}: expected the root of its DICOMweb service, such as https://pacs.example/dicom-web"
            )
        if "@" in parts.netloc:
            raise InputError(
                f"PACS {_bare(url)}: a user in the address is seen by all who use this machine; give it in ~/.netrc or the environment"
            )
        self.url = url.rstrip("/")
        self._name = f"the PACS at {self.url}"
        self._headers = {"Authorization": authorization} if authorization else {}
        self._waits = tuple(waits)
        timeout = urllib3.Timeout(connect=seconds[0], read=seconds[1])
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False, maxsize=4)

    def studies(self, *, days: int = 7, limit: int = 50, accession: str = "") -> list[Study]:
        """The studies with CT of the last days, newest first.

        Args:
            days: Today and this many days before.
            limit: The most that are told.
            accession: Only those of this accession number.

        Raises:
            PacsError: The PACS cannot be reached, or does not answer as it should.
        """
        today = date.today()
        when = {"StudyDate": f"{today - timedelta(days):%Y%m%d}-{today:%Y%m%d}"}
        asked = {"AccessionNumber": accession} if accession else when
        fields = {"includefield": "00201208", "ModalitiesInStudy": "CT", "limit": str(limit)}
        found = [
            Study(
                uid=str(_value(row, "0020000D")),
                date=str(_value(row, "00080020") or ""),
                time=str(_value(row, "00080030") or "").partition(".")[0],
                accession=str(_value(row, "00080050") or ""),
                modalities=tuple(str(value) for value in _values(row, "00080061")),
                images=_count(_value(row, "00201208")),
            )
            for row in self._patiently(lambda: self._query("/studies", {**asked, **fields}))
        ]
        found = [
            study for study in found if is_uid(study.uid) and "CT" in study.modalities
        ]  # some do not know the filter
        return sorted(found, key=lambda study: (study.date, study.time), reverse=True)[:limit]

    def fetch(
        self, study: str, folder: Path, *, limits: Limits, going: Going = lambda done, total: None
    ) -> list[str]:
        """Write the images of the CT series that is meant to a folder, under names of our own.

        Of several the rule of :func:`~nnstudent.io.dicom.groups.best` takes one by their headers; the others are not fetched.

        Args:
            study: Study instance UID.
            folder: Where to; emptied before each try.
            limits: Of size, count and time; what is beyond is not read.
            going: Told how far it is.

        Returns:
            What a reader should know, a line each.

        Raises:
            InputError: ``study`` is no UID, or it is more than the limits allow.
            PacsError: The PACS cannot be reached, does not answer as it should, or has no CT in this study.
        """
        if not is_uid(study):
            raise InputError("no study instance UID; expected digits and dots")
        series, images, told = self._patiently(lambda: self._choose(study))
        until = time.monotonic() + limits.job_minutes * 60
        self._patiently(
            lambda: self._fetch(
                f"/studies/{study}/series/{series}", folder, images, limits, until, going
            )
        )
        return told

    def store(self, study: str, path: Path) -> None:
        """Store a DICOM file in its study. Doing it twice does no harm: it is the same object.

        Raises:
            PacsError: The PACS cannot be reached, or does not take it.
        """
        self._patiently(lambda: self._store(study, path))

    def check(self) -> None:
        """See that a DICOMweb service answers, once.

        Raises:
            PacsError: It does not.
        """
        self._query("/studies", {"limit": "1"})

    def _choose(self, study: str) -> tuple[str, int | None, list[str]]:
        """UID of the series that is meant, how many images it has if that is known, and what is to be told."""
        rows = self._query(
            f"/studies/{study}/series",
            {"Modality": "CT", "includefield": "00201209"},
            missing="has no such study",
        )
        counts = {
            str(_value(row, "0020000E")): _count(_value(row, "00201209"))
            for row in rows
            if _value(row, "00080060") in ("CT", None)
        }
        counts = {uid: count for uid, count in counts.items() if is_uid(uid)}
        if not counts:
            raise PacsError(f"{self._name} has no CT series in this study, or no such study")
        if len(counts) > _SERIES:
            raise PacsError(
                f"{self._name} has {len(counts)} CT series in this study; expected at most {_SERIES}, send the one that is meant"
            )
        if len(counts) == 1:
            return (*next(iter(counts.items())), [])
        groups = sorted(
            (group for uid in counts if (group := self._group(study, uid)) is not None),
            key=lambda group: group.order,
        )
        if not groups:
            raise PacsError(
                f"{self._name} has {len(counts)} CT series in this study, but none with slices of a patient"
            )
        with quiet():
            chosen = best(groups)
            others = [group for group in groups if group is not chosen]
            told = [f"took CT series {chosen}; passed over {listed(others)}"] if others else []
        return chosen.uid, counts[chosen.uid], told

    def _group(self, study: str, series: str) -> Group | None:
        """The headers of a series' CT images."""
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
            except (
                Exception
            ) as error:  # whatever a malformed value does to the library; it would quote it
                raise PacsError(
                    f"{self._name} tells headers that cannot be read ({type(error).__name__})"
                ) from None
        return Group.of(series, found) if found else None

    def _fetch(
        self,
        path: str,
        folder: Path,
        images: int | None,
        limits: Limits,
        until: float,
        going: Going,
    ) -> None:
        for old in folder.iterdir():
            old.unlink()
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        with self._answer("GET", path, accept=accept, missing="has no such series") as answer:
            size = 0
            with Parts(folder, answer.headers.get("Content-Type", ""), most=limits.files) as parts:
                for chunk in answer.stream(_CHUNK):
                    size += len(chunk)
                    if size > limits.upload_bytes:
                        raise InputError(
                            f"a series of more than {limits.upload_bytes / 1e6:.0f} MB; raise --limit-upload, or send less"
                        )
                    if time.monotonic() > until:
                        raise PacsError(
                            f"{self._name} took longer than {limits.job_minutes:g} minutes to send a series"
                        )
                    parts.write(chunk)
                    going(parts.count, images or 0)
        if not parts.ended or parts.count < (images or 1):
            raise UnreachableError(
                f"{self._name} sent {parts.count} images of {images or 'a series'} and broke off"
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
        with self._answer(
            "POST",
            f"/studies/{study}",
            accept="application/dicom+json",
            headers=headers,
            body=body(),
            also=(202, 409),
            missing="has no such study",
        ) as answer:
            told = self._limited(answer)
        try:
            outcome = json.loads(told) if told else {}
            failed = outcome.get(_FAILED, {}).get("Value", [])
            reason = "".join(
                f", reason {int(_value(item, _REASON) or 0):#06x}" for item in failed[:1]
            )
        except (ValueError, AttributeError, TypeError, RecursionError):
            failed, reason = (
                [],
                "",
            )  # some answer in XML whatever is asked for; the status says enough
        if failed or answer.status == 409:
            raise PacsError(
                f"{self._name} does not store the segmentation (HTTP {answer.status}{reason})"
            )

    def _query(
        self, path: str, fields: Mapping[str, str], *, missing: str = "has no DICOMweb there"
    ) -> list[dict[str, Any]]:
        query = f"?{urlencode(fields)}" if fields else ""
        with self._answer(
            "GET", path + query, accept="application/dicom+json", also=(204,), missing=missing
        ) as answer:
            told = self._limited(answer)
        try:
            rows = json.loads(told) if told else []
        except (ValueError, RecursionError):
            rows = None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise PacsError(
                f"{self._name} does not answer in DICOM JSON; expected the root of its DICOMweb service"
            )
        return rows

    def _limited(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        told, until = bytearray(), time.monotonic() + _ANSWER_SECONDS
        for chunk in answer.stream(_CHUNK):
            told += chunk
            if len(told) > _JSON_BYTES:
                raise PacsError(
                    f"{self._name} answers with more than {_JSON_BYTES / 1e6:.0f} MB of headers"
                )
            if time.monotonic() > until:
                raise UnreachableError(
                    f"{self._name} took longer than {_ANSWER_SECONDS / 60:g} minutes to answer"
                )
        return bytes(told)

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        *,
        accept: str,
        headers: Mapping[str, str] | None = None,
        body: Iterator[bytes] | None = None,
        also: Sequence[int] = (),
        missing: str,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """An answer whose status is 200 or one of ``also``; its body is still to be read."""
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
            if answer.status != 200 and answer.status not in also:
                raise self._refusal(answer.status, missing)
            yield answer
        except SSLError as error:
            raise PacsError(
                f"{self._name}: no secure connection ({_why(error)}); name the file of your authority's certificates in SSL_CERT_FILE"
            ) from None
        except HTTPError as error:
            raise UnreachableError(
                f"{self._name} cannot be reached ({_why(error)}); see that it runs and that the address is right"
            ) from None
        finally:
            if answer is not None:
                answer.close()  # what was not read is not worth the connection

    def _refusal(self, status: int, missing: str) -> PacsError:
        if status in _TRANSIENT:
            return UnreachableError(
                f"{self._name} cannot answer now (HTTP {status}); see what its own log says"
            )
        known = {
            401: "asks who it is talking to; give user and password in ~/.netrc or in the environment",
            403: "does not allow this to the user that was given",
            404: missing,
        }
        if 300 <= status < 400:
            return PacsError(
                f"{self._name} leads on to another address (HTTP {status}); give that one"
            )
        return PacsError(f"{self._name} {known.get(status, 'does not understand')} (HTTP {status})")

    def _patiently(self, call: Callable[[], T]) -> T:
        for wait in self._waits:
            try:
                return call()
            except UnreachableError:
                time.sleep(wait)
        return call()


def _bare(url: str) -> str:
    """An address without user and password."""
    return re.sub(r"//[^/]*@", "//", url)


def _value(row: Mapping[str, Any], tag: str) -> Any:
    """The first value of an element in DICOM JSON, or None."""
    return next(iter(_values(row, tag)), None)


def _values(row: Mapping[str, Any], tag: str) -> list[Any]:
    """The values of an element in DICOM JSON."""
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _count(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _why(error: BaseException) -> str:
    """What the connection failed of, without the addresses and places in code that the library writes around it."""
    text = " ".join(str(error).split())
    system = re.search(r"\[(?:Errno -?\d+|SSL[^\]]*)\] ([^()']+)", text)
    return system[1].strip() if system else text[:150] or type(error).__name__
