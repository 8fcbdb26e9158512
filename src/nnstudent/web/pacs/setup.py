"""The connection to a PACS, made from the settings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nnstudent.errors import InputError, require
from nnstudent.web.jobs import Jobs
from nnstudent.web.settings import PacsSettings, Settings

if TYPE_CHECKING:
    from nnstudent.web.pacs.client import PacsClient
    from nnstudent.web.pacs.fetch import Fetcher
    from nnstudent.web.pacs.receive import Receiver

log = logging.getLogger(__name__)


class Part(Protocol):
    """A part of the service that runs until it is stopped."""

    def start(self) -> None:
        """Start."""

    def stop(self) -> None:
        """Stop."""


@dataclass(frozen=True)
class PacsConnection:
    """The parts of a service that talk to a PACS; all are empty if it is connected to none.

    Attributes:
        client: The PACS over DICOMweb.
        fetcher: Fetches studies from it.
        receiver: Receives scans by C-STORE.
        parts: Everything that starts and stops with the service.
    """

    client: PacsClient | None = None
    fetcher: Fetcher | None = None
    receiver: Receiver | None = None
    parts: list[Part] = field(default_factory=list)


def connect(jobs: Jobs, settings: Settings) -> PacsConnection:
    """Create the parts that the settings ask for.

    Raises:
        InputError: A setting is malformed, or there is nowhere to send results to.
        MissingExtraError: A library is not installed.
    """
    pacs, limits = settings.pacs, settings.limits
    if pacs.url is None and pacs.listen is None and pacs.peer is None:
        return PacsConnection()
    _check(pacs)
    for module in ("pydicom", "highdicom"):
        require(module, extra="dicom", why="the connection to a PACS")
    require("urllib3", extra="web", why="DICOMweb")
    from nnstudent.web.pacs.client import PacsClient
    from nnstudent.web.pacs.deliver import Delivery
    from nnstudent.web.pacs.dicomweb import DicomWeb
    from nnstudent.web.pacs.dimse import check_title, parse_peer, send
    from nnstudent.web.pacs.fetch import Fetcher
    from nnstudent.web.pacs.receive import Receiver

    title = check_title(pacs.title)
    client = PacsClient(DicomWeb(pacs.url, authorization=pacs.authorization)) if pacs.url else None
    store: Callable[[str, Path], None]
    if pacs.peer is not None:
        peer = parse_peer(pacs.peer)
        where = str(peer)

        def store(study: str, path: Path) -> None:
            send(path, peer, title=title)
    elif client is not None:
        store, where = client.store, f"the PACS at {client.url}"
    delivery = Delivery(jobs, store, where=where)
    fetcher = Fetcher(jobs, client, limits) if client else None
    receiver = None
    if pacs.listen:
        receiver = Receiver(
            jobs,
            limits,
            listen=pacs.listen,
            title=title,
            callers=pacs.callers,
            quiet_seconds=pacs.quiet_seconds,
        )
    parts: list[Part] = [part for part in (delivery, fetcher, receiver) if part is not None]
    return PacsConnection(client, fetcher, receiver, parts)


def _check(pacs: PacsSettings) -> None:
    if pacs.url is None and pacs.peer is None:
        raise InputError(
            "scans are received, but there is nowhere to send results to; "
            "give --pacs URL, or --send-to AET@HOST:PORT"
        )
    if pacs.url is None and pacs.listen is None:
        raise InputError(
            "results can be sent, but no scan is received; give --pacs URL, or --dicom-port"
        )
