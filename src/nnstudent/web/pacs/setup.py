"""What joins a service to a hospital's archive, put together from its settings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nnstudent.errors import InputError, require
from nnstudent.web.jobs import Jobs
from nnstudent.web.settings import Settings

if TYPE_CHECKING:
    from nnstudent.web.pacs.client import Pacs
    from nnstudent.web.pacs.fetch import Fetcher
    from nnstudent.web.pacs.receive import Receiver

log = logging.getLogger(__name__)


class Part(Protocol):
    """What starts and stops with the service, such as the way to a PACS."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""


@dataclass(frozen=True)
class Connected:
    """The parts of a service that speak with a hospital's archive; none where it is joined to none.

    Attributes:
        pacs: The PACS over DICOMweb.
        fetcher: Fetches studies from it.
        receiver: Receives scans by C-STORE.
        parts: All that starts and stops with the service.
    """

    pacs: Pacs | None = None
    fetcher: Fetcher | None = None
    receiver: Receiver | None = None
    parts: list[Part] = field(default_factory=list)


def connect(jobs: Jobs, settings: Settings) -> Connected:
    """The parts that these settings ask for.

    Raises:
        InputError: Something in them is malformed, or there is nowhere to send results to.
        MissingExtraError: A library is not installed.
    """
    hospital, limits = settings.hospital, settings.limits
    if hospital.pacs is None and hospital.listen is None and hospital.peer is None:
        return Connected()
    if hospital.pacs is None and hospital.peer is None:
        raise InputError(
            "scans are received, but nothing says where results go; give --pacs URL, or --send-to AET@HOST:PORT"
        )
    if hospital.pacs is None and hospital.listen is None:
        raise InputError(
            "results have somewhere to go, but no study comes; give --pacs URL, or --dicom-port"
        )
    for module in ("pydicom", "highdicom"):
        require(module, extra="dicom", why="what is stored in an archive")
    require("urllib3", extra="web", why="DICOMweb")
    from nnstudent.web.pacs.client import Pacs
    from nnstudent.web.pacs.deliver import Delivery
    from nnstudent.web.pacs.dimse import check_title, parse_peer, send
    from nnstudent.web.pacs.fetch import Fetcher
    from nnstudent.web.pacs.receive import Receiver

    title = check_title(hospital.title)
    pacs = Pacs(hospital.pacs, authorization=hospital.authorization) if hospital.pacs else None
    store: Callable[[str, Path], None]
    if hospital.peer is not None:
        peer = parse_peer(hospital.peer)
        where = str(peer)

        def store(study: str, path: Path) -> None:
            send(path, peer, title=title)
    elif pacs is not None:
        store, where = pacs.store, f"the PACS at {pacs.url}"
    delivery = Delivery(jobs, store, where=where)
    fetcher = Fetcher(jobs, pacs, limits) if pacs else None
    receiver = None
    if hospital.listen:
        receive = partial(
            Receiver,
            jobs,
            limits,
            title=title,
            callers=hospital.callers,
            quiet_seconds=hospital.quiet_seconds,
        )
        receiver = receive(listen=hospital.listen)
    return Connected(
        pacs,
        fetcher,
        receiver,
        [part for part in (delivery, fetcher, receiver) if part is not None],
    )
