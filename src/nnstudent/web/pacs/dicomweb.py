"""Requests to a DICOMweb service.

Connections go only to the address given; redirects and proxies are not used. A refusal becomes one
line without the name of a patient or a UID.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from nnstudent.addresses import split_address
from nnstudent.errors import InputError
from nnstudent.web.pacs.errors import PacsError, UnreachableError

T = TypeVar("T")

CHUNK = 1 << 16
_JSON_BYTES = 200_000_000  # for the headers of a series; an Enhanced CT has the longest
_ANSWER_SECONDS = 300.0  # for a whole response without images
_ROOT = "the root of its DICOMweb service, such as https://pacs.example/dicom-web"
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


class DicomWeb:
    """The root of a DICOMweb service. Every method may be called from any thread.

    Attributes:
        name: The service in messages.
    """

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
        parts = split_address(_without_user(url), expected=_ROOT)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
        ):
            raise InputError(f"PACS {_without_user(url)}: expected {_ROOT}")
        if _without_user(url) != url:
            raise InputError(
                f"PACS {_without_user(url)}: others on this machine can see a user in the address; "
                "give it in ~/.netrc or the environment"
            )
        self.url = url.rstrip("/")
        self.name = f"the PACS at {self.url}"
        self._headers = {"Authorization": authorization} if authorization else {}
        self._waits = tuple(waits)
        timeout = urllib3.Timeout(connect=seconds[0], read=seconds[1])
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False, maxsize=4)

    def query(
        self,
        path: str,
        fields: Mapping[str, str],
        *,
        missing: str = "has no DICOMweb service at this address",
    ) -> list[dict[str, Any]]:
        """Return the rows that a search answers with, in DICOM JSON.

        Args:
            path: Path below the root.
            fields: Fields of the query.
            missing: What a response of 404 means, after the name of the service.

        Raises:
            PacsError: The service cannot be reached, or its response is unusable.
        """
        query = f"?{urlencode(fields)}" if fields else ""
        with self.request(
            "GET",
            path + query,
            accept="application/dicom+json",
            accepted_statuses=(204,),
            missing=missing,
        ) as answer:
            body = self.read_body(answer)
        try:
            rows = json.loads(body) if body else []
        except (ValueError, RecursionError):
            rows = None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise PacsError(
                f"{self.name} does not answer in DICOM JSON; "
                "expected the root of its DICOMweb service"
            )
        return rows

    def read_body(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        """Read a response without images, within limits of size and time."""
        body, deadline = bytearray(), time.monotonic() + _ANSWER_SECONDS
        for chunk in answer.stream(CHUNK):
            body += chunk
            if len(body) > _JSON_BYTES:
                raise PacsError(
                    f"{self.name} answers with more than {_JSON_BYTES / 1e6:.0f} MB of headers"
                )
            if time.monotonic() > deadline:
                raise UnreachableError(
                    f"{self.name} took longer than {_ANSWER_SECONDS / 60:g} minutes to answer"
                )
        return bytes(body)

    @contextmanager
    def request(
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
                f"{self.name}: no secure connection ({_reason(error)}); "
                "set SSL_CERT_FILE to the file of your certificate authority"
            ) from None
        except HTTPError as error:
            raise UnreachableError(
                f"{self.name} cannot be reached ({_reason(error)}); "
                "check that it is running and that the address is right"
            ) from None
        finally:
            if answer is not None:
                answer.close()  # reading the rest would cost more than a new connection

    def _refusal(self, status: int, missing: str) -> PacsError:
        if status in _TRANSIENT:
            return UnreachableError(
                f"{self.name} cannot answer now (HTTP {status}); its own log says why"
            )
        known = {
            401: "requires a login; give user and password in ~/.netrc or the environment",
            403: "does not allow this to the user given",
            404: missing,
        }
        if 300 <= status < 400:
            return PacsError(
                f"{self.name} redirects to another address (HTTP {status}); give that one"
            )
        return PacsError(f"{self.name} {known.get(status, 'refuses the request')} (HTTP {status})")

    def retry(self, call: Callable[[], T]) -> T:
        """Call, and again after a wait for as long as the service cannot be reached."""
        for wait in self._waits:
            try:
                return call()
            except UnreachableError:
                time.sleep(wait)
        return call()


def _without_user(url: str) -> str:
    """Return an address without user and password."""
    return re.sub(r"//[^/]*@", "//", url)


def _reason(error: BaseException) -> str:
    """Return why a connection failed, without the library's addresses and places in code."""
    text = " ".join(str(error).split())
    system = re.search(r"\[(?:Errno -?\d+|SSL[^\]]*)\] ([^()']+)", text)
    return system[1].strip() if system else text[:150] or type(error).__name__
