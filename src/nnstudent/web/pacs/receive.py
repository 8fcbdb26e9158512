"""Scans that a scanner or an archive sends by C-STORE: collected by study until it is complete, then queued."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from nnstudent.errors import InputError, NnStudentError, require
from nnstudent.io.dicom.find import quiet
from nnstudent.web.jobs import Draft, FullError, Jobs
from nnstudent.web.pacs.client import is_uid
from nnstudent.web.pacs.dimse import CT_CLASSES, check_title, library
from nnstudent.web.settings import Limits, ListenLimits

log = logging.getLogger(__name__)

OWNER = "dicom"  # of what was received; nobody who asks over the web is called so
SUCCESS, NO_ROOM, NO_MATCH, UNREADABLE = (
    0x0000,
    0xA700,
    0xA900,
    0xC000,
)  # statuses of C-STORE, PS3.4 table B.2-1
_TICK = 0.2
_BROKEN_OFF_SECONDS = (
    600.0  # that a study whose sending broke off is kept for whoever sends it again
)
_STEP_BYTES = 64_000_000  # by which room on the disk is kept for a study
_PDU_BYTES = 131072
# What the decoders of the extra [dicom] read; the uncompressed ones first. Deflated data sets are not among them: a few kB can
# become GB in memory before anything of them can be seen.
SYNTAXES = (
    "ExplicitVRLittleEndian", "ImplicitVRLittleEndian", "RLELossless", "JPEG2000Lossless", "JPEG2000",
    "JPEGLSLossless", "JPEGLSNearLossless", "JPEGLossless", "JPEGLosslessSV1", "JPEGBaseline8Bit", "JPEGExtended12Bit",
)  # fmt: skip


@dataclass(eq=False)
class _Collection:
    """What came of a study so far."""

    draft: Draft
    holds: ExitStack
    files: dict[str, Path] = field(
        default_factory=dict
    )  # by SOP instance UID, so that what is sent twice is there once
    sizes: dict[str, int] = field(default_factory=dict)
    senders: set[Any] = field(
        default_factory=set
    )  # associations that brought some of it and are open
    last: float = 0.0  # monotonic seconds
    whole: bool = True  # whether the last association that brought some of it ended as it should
    refused: bool = False  # whether some of it was, for want of room


class Receiver:
    """A C-STORE SCP for CT, and C-ECHO. It listens from when it is made; what is complete is queued from when it is started.

    Attributes:
        port: At which it listens.
    """

    def __init__(
        self,
        jobs: Jobs,
        limits: Limits,
        *,
        listen: tuple[str, int],
        title: str,
        callers: tuple[str, ...] = (),
        quiet_seconds: float = 5.0,
        listening: ListenLimits | None = None,
    ) -> None:
        """Listen.

        Args:
            jobs: Where complete studies are queued.
            limits: Of size and count of a study.
            listen: Host and port; port 0 for any that is free.
            title: Application entity title that callers must call.
            callers: Titles of those who may send; empty for all.
            quiet_seconds: A study is complete when nothing came for this long and who sent it has gone.
            listening: Bounds of its connections.

        Raises:
            InputError: It cannot listen there, or a title is none.
            MissingExtraError: pynetdicom is not installed.
        """
        self._jobs = jobs
        self._limits = limits
        self._listening = listening or ListenLimits()
        self._quiet = quiet_seconds
        self._studies: dict[str, _Collection] = {}
        self._coming: dict[
            Any, int
        ] = {}  # bytes that an association sent since its last image was whole
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        library()
        self._pydicom = require("pydicom", extra="dicom", why="receiving DICOM")
        uid = self._pydicom.uid
        self._classes = {getattr(uid, name) for name in CT_CLASSES}
        self._entity = self._make_entity(title, callers)
        try:
            self.port = self._listen(listen)
        except OSError as error:
            raise InputError(
                f"{listen[0]}, port {listen[1]}: cannot listen for C-STORE there ({error.strerror or error}); choose another --dicom-port"
            ) from error

    def _make_entity(self, title: str, callers: tuple[str, ...]) -> Any:
        uid, seconds = self._pydicom.uid, self._listening.network_seconds
        entity = library().AE(ae_title=check_title(title))
        entity.require_called_aet = True
        entity.require_calling_aet = [check_title(caller) for caller in callers]
        entity.maximum_associations = 10**6  # the listener has its own limits
        entity.maximum_pdu_size = _PDU_BYTES
        entity.acse_timeout = self._listening.pdu_seconds
        entity.dimse_timeout = entity.network_timeout = seconds
        for name in self._classes:
            entity.add_supported_context(name, [getattr(uid, syntax) for syntax in SYNTAXES])
        entity.add_supported_context("1.2.840.10008.1.1")  # C-ECHO
        return entity

    def _listen(self, listen: tuple[str, int]) -> int:
        """Begin to listen; the port."""
        from nnstudent.web.pacs.listener import GuardedServer, Handler  # needs pynetdicom

        event = library().evt
        handlers = [
            (event.EVT_C_STORE, self._stored),
            (event.EVT_DATA_RECV, self._came),
            (event.EVT_ESTABLISHED, _established),
            (event.EVT_RELEASED, lambda event: self._left(event, whole=True)),
            (event.EVT_ABORTED, lambda event: self._left(event, whole=False)),
            (event.EVT_CONN_CLOSE, lambda event: self._left(event, whole=False)),
        ]
        server_class = type("Listener", (GuardedServer,), {"limits": self._listening})
        server = self._entity.make_server(
            listen, evt_handlers=handlers, server_class=server_class, request_handler=Handler
        )
        self._entity._servers.append(server)  # which its shutdown ends
        threading.Thread(target=server.serve_forever, name="AcceptorServer", daemon=True).start()
        return int(server.socket.getsockname()[1])

    def start(self) -> None:
        """Queue what is complete from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; what is complete is queued, what still comes is broken off, so that its sender knows."""
        self._stopping.set()
        self._entity.shutdown()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        with self._guard:
            for study, item in list(self._studies.items()):
                self._end(study, queue=not item.senders and item.whole and not item.refused)

    def _stored(self, event: Any) -> int:
        """Keep an image; its DICOM status."""
        self._coming[event.assoc] = 0
        try:
            content = event.encoded_dataset()
            with quiet():
                header = self._pydicom.dcmread(
                    BytesIO(content),
                    stop_before_pixels=True,
                    specific_tags=["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"],
                )
                study, instance = (
                    str(header.get("StudyInstanceUID", "")),
                    str(header.get("SOPInstanceUID", "")),
                )
                kind = header.get("SOPClassUID")
        except Exception:  # whatever a malformed data set does to the library
            return UNREADABLE
        asked = event.request
        if (
            kind not in self._classes
            or kind != asked.AffectedSOPClassUID
            or instance != asked.AffectedSOPInstanceUID
            or not is_uid(study)
        ):
            return NO_MATCH
        with self._guard:
            try:
                return self._keep(study, instance, content, event.assoc)
            except NnStudentError as error:
                log.warning("a scan was not received: %s", error)
            except OSError as error:
                log.error(
                    "a scan was not received: %s", error.strerror or type(error).__name__
                )  # without the file's name
            if study in self._studies:
                self._studies[study].refused = True
            return NO_ROOM

    def _keep(self, study: str, instance: str, content: bytes, sender: Any) -> int:
        if self._stopping.is_set():
            return NO_ROOM
        item = self._studies.get(study)
        if item is None:
            self._find_place()
            with ExitStack() as holds:
                draft = holds.enter_context(self._jobs.draft(reserve=0))
                item = self._studies[study] = _Collection(draft, holds.pop_all())
        item.senders.add(sender)
        item.last, item.whole = time.monotonic(), True
        size = sum(item.sizes.values()) - item.sizes.get(instance, 0) + len(content)
        if size > self._limits.upload_bytes or (
            instance not in item.files and len(item.files) >= self._limits.files
        ):
            most = f"{self._limits.upload_bytes / 1e6:.0f} MB or {self._limits.files} files"
            raise InputError(f"a study of more than {most}; send one series")
        if size > item.draft.reserved:
            self._jobs.reserve(item.draft, min(size + _STEP_BYTES, self._limits.upload_bytes))
        path = item.files.get(instance) or item.draft.input / f"{len(item.files):05d}.dcm"
        path.write_bytes(content)
        item.files[instance], item.sizes[instance] = path, len(content)
        return SUCCESS

    def _find_place(self) -> None:
        """Have room for one more study. One whose sending broke off gives way to it, the one that waits longest first."""
        if len(self._studies) < self._limits.uploads:
            return
        broken = [
            study for study, item in self._studies.items() if not item.senders and not item.whole
        ]
        if not broken:
            raise FullError(
                f"{self._limits.uploads} studies are being received; try again when one of them is through"
            )
        log.warning("a study whose sending broke off is dropped, for another one comes")
        self._end(min(broken, key=lambda study: self._studies[study].last), queue=False)

    def _came(self, event: Any) -> None:
        """Break off a sender where the images that are not whole yet, which the library keeps in memory, exceed all limits."""
        association = event.assoc
        self._coming[association] = self._coming.get(association, 0) + len(event.data)
        if sum(self._coming.copy().values()) > self._limits.upload_bytes + _PDU_BYTES:
            log.warning(
                "a sender was broken off: images of more than %.0f MB in memory",
                self._limits.upload_bytes / 1e6,
            )
            association.abort()

    def _left(self, event: Any, *, whole: bool) -> None:
        self._coming.pop(event.assoc, None)
        with self._guard:
            for item in self._studies.values():
                if event.assoc in item.senders:
                    item.senders.discard(event.assoc)
                    item.whole, item.last = whole, time.monotonic()

    def _run(self) -> None:
        while not self._stopping.wait(_TICK):
            with self._guard:
                for study, item in list(self._studies.items()):
                    since = time.monotonic() - item.last
                    if item.senders:
                        continue
                    if item.refused:
                        log.warning("a study of which not all was received is dropped")
                        self._end(study, queue=False)
                    elif item.whole and since >= self._quiet:
                        self._end(study, queue=True)
                    elif since >= _BROKEN_OFF_SECONDS:
                        log.warning("a study whose sending broke off is dropped")
                        self._end(study, queue=False)

    def _end(self, study: str, *, queue: bool) -> None:
        item = self._studies.pop(study)
        with item.holds:
            if not queue or not item.files:
                return
            name = f"received study {item.draft.id[:8]}"
            try:
                self._jobs.add(
                    item.draft, owner=OWNER, name=name, kind="dicom", origin={"study": study}
                )
            except NnStudentError as error:
                log.error("a study that was received cannot be queued: %s", error)


def _established(event: Any) -> None:
    event.assoc.dul.socket.socket.established = True
