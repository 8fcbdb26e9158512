"""C-STORE to another DICOM application, and application entity titles."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnstudent.errors import InputError, require
from nnstudent.io.dicom.read import stay_quiet
from nnstudent.web.pacs.errors import PacsError, UnreachableError

CT_CLASSES = ("CTImageStorage", "EnhancedCTImageStorage", "LegacyConvertedEnhancedCTImageStorage")
# ASCII without the backslash
_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_SECONDS = 30.0


@dataclass(frozen=True)
class Peer:
    """An application that accepts C-STORE.

    Attributes:
        title: Its application entity title.
        host: Its host name or address.
        port: Its port.
    """

    title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.title} at {self.host}, port {self.port}"


def library() -> Any:
    """Import pynetdicom and silence it, because its log and pydicom's warnings quote data sets.

    Raises:
        MissingExtraError: It is not installed.
    """
    pynetdicom = require("pynetdicom", extra="web", why="C-STORE")
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    stay_quiet()
    return pynetdicom


def check_title(text: str) -> str:
    """Check an application entity title and return it.

    Raises:
        InputError: It is not one.
    """
    if not _TITLE.fullmatch(text):
        raise InputError(
            f"application entity title {text!r}; expected 1 to 16 characters of ASCII, "
            "no backslash, no space at either end"
        )
    return text


def parse_peer(text: str) -> Peer:
    """Read ``AET@HOST:PORT``.

    Raises:
        InputError: The text does not have that form.
    """
    title, _, rest = text.rpartition("@")
    host, _, port = rest.rpartition(":")
    if not title or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"peer {text!r}; expected AET@HOST:PORT, such as PACS@10.0.0.5:104")
    return Peer(check_title(title), host.strip("[]"), int(port))


def send(path: Path, peer: Peer, *, title: str) -> None:
    """Send a DICOM file to a peer by C-STORE.

    Args:
        path: The file.
        peer: The peer.
        title: Application entity title of this service.

    Raises:
        UnreachableError: The peer does not answer.
        PacsError: The peer does not accept the file.
    """
    pynetdicom = library()
    meta = require("pydicom", extra="dicom", why="reading DICOM").filereader.read_file_meta_info(
        path
    )
    entity = pynetdicom.AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = (
        entity.connection_timeout
    ) = _SECONDS
    entity.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = entity.associate(peer.host, peer.port, ae_title=peer.title)
    if not association.is_established:
        if association.is_rejected:
            raise PacsError(f"{peer} rejects {title}; register that title there")
        if association.rejected_contexts:
            raise PacsError(f"{peer} does not accept segmentations (DICOM-SEG)")
        raise UnreachableError(
            f"{peer} cannot be reached; check that it is running and that --send-to is right"
        )
    try:
        status = association.send_c_store(path).get("Status")
    finally:
        association.release()
    if status is None:
        raise UnreachableError(f"{peer} closed the connection")
    if status & 0xF000 == 0xA000 and status < 0xA800:
        raise UnreachableError(f"{peer} is out of space (status {status:#06x})")
    if status != 0 and status & 0xF000 != 0xB000:
        raise PacsError(f"{peer} does not store the segmentation (status {status:#06x})")
