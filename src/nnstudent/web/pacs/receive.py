"""Receives scans by C-STORE; images are collected by study, and complete studies are queued."""

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
from nnstudent.io.dicom.read import quiet
from nnstudent.web.jobs import Draft, FullError, Jobs
from nnstudent.web.pacs.dicom_json import is_uid
from nnstudent.web.pacs.dimse import CT_CLASSES, check_title, library
from nnstudent.web.settings import Limits, ListenLimits

log = logging.getLogger(__name__)

OWNER = "dicom"  # of the jobs received; no user of the web application has this name
# Statuses of C-STORE, PS3.4 table B.2-1.
SUCCESS, OUT_OF_RESOURCES, DATA_SET_MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
_TICK = 0.2
_INTERRUPTED_SECONDS = 600.0  # how long an interrupted study is kept, in case it is sent again
_STEP_BYTES = 64_000_000  # disk space is reserved for a study in steps of this size
_PDU_BYTES = 131072
# What the decoders of the extra [dicom] read, uncompressed ones first. Deflated data sets are left
# out: a few kB can become GB in memory before any of their content can be checked.
SYNTAXES = (
    "ExplicitVRLittleEndian",
    "ImplicitVRLittleEndian",
    "RLELossless",
    "JPEG2000Lossless",
    "JPEG2000",
    "JPEGLSLossless",
    "JPEGLSNearLossless",
    "JPEGLossless",
    "JPEGLosslessSV1",
    "JPEGBaseline8Bit",
    "JPEGExtended12Bit",
)


@dataclass(eq=False)
class _IncomingStudy:
    """A study of which images are arriving.

    Attributes:
        draft: Where they are kept.
        stack: Removes the draft when it is closed.
        files: SOP instance UID → file, so that an image that is sent twice is kept once.
        sizes: SOP instance UID → bytes.
        senders: Open associations that sent some of it.
        last: Monotonic seconds of the last image.
        completed: Whether the last association that sent some of it was released in order.
        refused: Whether an image was refused because there was no space.
    """

    draft: Draft
    stack: ExitStack
    files: dict[str, Path] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    senders: set[Any] = field(default_factory=set)
    last: float = 0.0
    completed: bool = True
    refused: bool = False


class Receiver:
    """A C-STORE SCP for CT, with C-ECHO.

    It listens from its construction on, and queues complete studies from :meth:`start` on.

    Attributes:
        port: The port that it listens at.
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
        """Start listening.

        Args:
            jobs: Where complete studies are queued.
            limits: Limits of the size and number of files of a study.
            listen: Host and port; port 0 for any free one.
            title: Application entity title that callers must call.
            callers: Application entity titles that may send; empty for all.
            quiet_seconds: A study is complete when nothing has arrived for this long and its
                senders have disconnected.
            listening: Limits of connections.

        Raises:
            InputError: It cannot listen there, or a title is malformed.
            MissingExtraError: pynetdicom is not installed.
        """
        self._jobs = jobs
        self._limits = limits
        self._listening = listening or ListenLimits()
        self._quiet_seconds = quiet_seconds
        self._studies: dict[str, _IncomingStudy] = {}
        # Bytes that an association sent since its last complete image.
        self._incomplete: dict[Any, int] = {}
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
                f"{listen[0]}, port {listen[1]}: cannot listen for C-STORE there "
                f"({error.strerror or error}); choose another --dicom-port"
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
        """Start listening; returns the port."""
        from nnstudent.web.pacs.listener import GuardedServer, Handler  # needs pynetdicom

        event = library().evt
        handlers = [
            (event.EVT_C_STORE, self._on_store),
            (event.EVT_DATA_RECV, self._on_data),
            (event.EVT_ESTABLISHED, _established),
            (event.EVT_RELEASED, lambda event: self._on_end_of_association(event, completed=True)),
            (event.EVT_ABORTED, lambda event: self._on_end_of_association(event, completed=False)),
            (
                event.EVT_CONN_CLOSE,
                lambda event: self._on_end_of_association(event, completed=False),
            ),
        ]
        server_class = type("Listener", (GuardedServer,), {"limits": self._listening})
        server = self._entity.make_server(
            listen, evt_handlers=handlers, server_class=server_class, request_handler=Handler
        )
        self._entity._servers.append(server)  # so that its shutdown stops the server
        threading.Thread(target=server.serve_forever, name="AcceptorServer", daemon=True).start()
        return int(server.socket.getsockname()[1])

    def start(self) -> None:
        """Start to queue complete studies."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; complete studies are queued, and open associations are aborted."""
        self._stopping.set()
        self._entity.shutdown()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        with self._guard:
            for study, item in list(self._studies.items()):
                self._end(study, queue=not item.senders and item.completed and not item.refused)

    def _on_store(self, event: Any) -> int:
        """Keep an image; returns the DICOM status."""
        self._incomplete[event.assoc] = 0
        try:
            content = event.encoded_dataset()
            with quiet():
                header = self._pydicom.dcmread(
                    BytesIO(content),
                    stop_before_pixels=True,
                    specific_tags=["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"],
                )
                study = str(header.get("StudyInstanceUID", ""))
                instance = str(header.get("SOPInstanceUID", ""))
                kind = header.get("SOPClassUID")
        except Exception:  # any that a malformed data set causes
            return CANNOT_UNDERSTAND
        request = event.request
        if (
            kind not in self._classes
            or kind != request.AffectedSOPClassUID
            or instance != request.AffectedSOPInstanceUID
            or not is_uid(study)
        ):
            return DATA_SET_MISMATCH
        with self._guard:
            try:
                return self._keep(study, instance, content, event.assoc)
            except NnStudentError as error:
                log.warning("a scan was not received: %s", error)
            except OSError as error:
                why = error.strerror or type(error).__name__  # without the file's name
                log.error("a scan was not received: %s", why)
            if study in self._studies:
                self._studies[study].refused = True
            return OUT_OF_RESOURCES

    def _keep(self, study: str, instance: str, content: bytes, sender: Any) -> int:
        if self._stopping.is_set():
            return OUT_OF_RESOURCES
        item = self._studies.get(study)
        if item is None:
            self._make_room()
            with ExitStack() as stack:
                draft = stack.enter_context(self._jobs.draft(reserve=0))
                item = self._studies[study] = _IncomingStudy(draft, stack.pop_all())
        item.senders.add(sender)
        item.last, item.completed = time.monotonic(), True
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

    def _make_room(self) -> None:
        """Make room for one more study; the oldest interrupted study is dropped for it."""
        if len(self._studies) < self._limits.uploads:
            return
        broken = [
            study
            for study, item in self._studies.items()
            if not item.senders and not item.completed
        ]
        if not broken:
            raise FullError(
                f"{self._limits.uploads} studies are being received; "
                "try again when one has finished"
            )
        log.warning("an interrupted study is dropped to make room for another one")
        self._end(min(broken, key=lambda study: self._studies[study].last), queue=False)

    def _on_data(self, event: Any) -> None:
        """Abort a sender if incomplete images, which are kept in memory, exceed the limit."""
        association = event.assoc
        self._incomplete[association] = self._incomplete.get(association, 0) + len(event.data)
        if sum(self._incomplete.copy().values()) > self._limits.upload_bytes + _PDU_BYTES:
            log.warning(
                "a sender was aborted: incomplete images of more than %.0f MB in memory",
                self._limits.upload_bytes / 1e6,
            )
            association.abort()

    def _on_end_of_association(self, event: Any, *, completed: bool) -> None:
        self._incomplete.pop(event.assoc, None)
        with self._guard:
            for item in self._studies.values():
                if event.assoc in item.senders:
                    item.senders.discard(event.assoc)
                    item.completed, item.last = completed, time.monotonic()

    def _run(self) -> None:
        while not self._stopping.wait(_TICK):
            with self._guard:
                for study, item in list(self._studies.items()):
                    since = time.monotonic() - item.last
                    if item.senders:
                        continue
                    if item.refused:
                        log.warning("an incomplete study is dropped")
                        self._end(study, queue=False)
                    elif item.completed and since >= self._quiet_seconds:
                        self._end(study, queue=True)
                    elif since >= _INTERRUPTED_SECONDS:
                        log.warning("an interrupted study is dropped")
                        self._end(study, queue=False)

    def _end(self, study: str, *, queue: bool) -> None:
        item = self._studies.pop(study)
        with item.stack:
            if not queue or not item.files:
                return
            name = f"received study {item.draft.id[:8]}"
            try:
                self._jobs.add(
                    item.draft, owner=OWNER, name=name, kind="dicom", origin={"study": study}
                )
            except NnStudentError as error:
                log.error("a received study cannot be queued: %s", error)


def _established(event: Any) -> None:
    event.assoc.dul.socket.socket.established = True
