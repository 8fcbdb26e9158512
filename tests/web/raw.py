"""A client that speaks over a plain socket, so that it can be slow, rude and wrong."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

BOUNDARY = "b0undary"
UPLOAD_HEAD = (
    "POST /api/jobs HTTP/1.1\r\nHost: localhost\r\n"
    f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
)
_DISPOSITION = 'Content-Disposition: form-data; name="files"; filename="ct.nii.gz"'
PART_HEAD = f"--{BOUNDARY}\r\n{_DISPOSITION}\r\n\r\n".encode()
PART_END = f"\r\n--{BOUNDARY}--\r\n".encode()


@dataclass
class Answer:
    """What came back, up to the end of the first body or of the connection."""

    raw: bytes

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1]) if self.raw else 0

    @property
    def error(self) -> str:
        return str(json.loads(self.raw.partition(b"\r\n\r\n")[2])["error"])


class Raw:
    """One connection."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=10)

    def send(self, data: bytes | str) -> None:
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def answer(self, *, seconds: float = 10.0) -> Answer:
        """What comes until the connection ends or a whole answer is there."""
        self.socket.settimeout(seconds)
        raw = b""
        try:
            while piece := self.socket.recv(65536):
                raw += piece
                head, found, body = raw.partition(b"\r\n\r\n")
                length = next(
                    (
                        line
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length:")
                    ),
                    None,
                )
                if found and length is not None and len(body) >= int(length.partition(b":")[2]):
                    break
        except ConnectionResetError:
            pass
        return Answer(raw)

    def is_closed(self, *, within: float) -> bool:
        """Whether the other side ends the connection."""
        until = time.monotonic() + within
        try:
            while (left := until - time.monotonic()) > 0:
                self.socket.settimeout(left)
                if not self.socket.recv(65536):
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    def close(self) -> None:
        self.socket.close()


@contextmanager
def many(address: str, count: int) -> Iterator[list[Raw]]:
    """Connections that are open at once."""
    made = [Raw(address) for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            one.close()
