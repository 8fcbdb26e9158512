"""The sockets of C-STORE: pynetdicom's server with limits on connections, PDU length and PDU time.

pynetdicom alone waits forever for the rest of a PDU, reads as many bytes as its header says, and
counts connections that have not sent a request yet as associations.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Any

from pynetdicom.fsm import InvalidEventError, StateMachine
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from nnstudent.web.access import is_loopback
from nnstudent.web.settings import ListenLimits
from nnstudent.web.throttle import client_key

# Threads per connection: the thread of an ended connection lives until its association times out.
_THREADS = 4
_HEADER = 6  # bytes of a PDU before its content: type, reserved, length


class GuardedSocket(socket.socket):
    """One connection, which reads only PDUs that are neither too long nor too slow."""

    def __init__(self, accepted: socket.socket, client: str, limits: ListenLimits) -> None:
        """Take over an accepted socket."""
        timeout = accepted.gettimeout()
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self.settimeout(timeout)
        self.client = client
        self.established = False
        self.last = time.monotonic()
        self._limits = limits
        self._header = bytearray()
        self._left = 0  # bytes of the PDU that is being read
        self._due = 0.0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Read a piece.

        Raises:
            OSError: The PDU is too long or too slow.
        """
        now = time.monotonic()
        if not self._left and not self._header:
            self._due = now + self._limits.pdu_seconds
        if now >= self._due:
            raise TimeoutError("a PDU that is too slow")
        self.settimeout(self._due - now)
        try:
            piece = super().recv(min(size, self._left or _HEADER - len(self._header)), flags)
        finally:
            self.settimeout(self._limits.pdu_seconds)  # for what is sent
        self.last = time.monotonic()
        if self._left:
            self._left -= len(piece)
            return piece
        self._header += piece
        if len(self._header) == _HEADER:
            (self._left,) = struct.unpack(">2xL", self._header)
            self._header.clear()
            if self._left > self._limits.pdu_bytes:
                raise OSError("a PDU that is too long")
        return piece

    def shutdown(self, how: int, /) -> None:
        """End the connection, so that a reader notices; an ended connection is not an error."""
        with suppress(OSError):
            super().shutdown(how)


class _Machine(StateMachine):
    """Ends an association whose peer violates the protocol; the library would raise in a thread."""

    def do_action(self, event: str) -> None:
        try:
            super().do_action(event)
        except InvalidEventError:
            if self.dul.socket is not None:
                self.dul.socket.close()
            self.dul.kill_dul()


class Handler(RequestHandler):
    """Creates the association of a connection."""

    def _create_association(self) -> Any:
        association = super()._create_association()
        association.dul.state_machine = _Machine(association.dul)
        return association


class GuardedServer(ThreadedAssociationServer):
    """pynetdicom's server, which drops an idle connection to make room for a new one."""

    limits = ListenLimits()

    def __init__(self, *args: Any, **more: Any) -> None:
        """See the base class."""
        self._open: list[GuardedSocket] = []  # in the order of arrival
        self._counting = threading.Lock()
        super().__init__(*args, **more)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection."""
        accepted, address = super().get_request()
        return GuardedSocket(accepted, str(address[0]), self.limits), address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether there is room for a connection; an idle one is dropped if necessary."""
        with self._counting:
            self._open = [one for one in self._open if one.fileno() >= 0]
            mine = [
                one for one in self._open if client_key(one.client) == client_key(request.client)
            ]
            threads = [str(thread.requestor.address) for thread in self.active_associations]
            local = is_loopback(request.client)
            if len(threads) >= _THREADS * self.limits.connections:
                return False
            if (
                not local
                and threads.count(request.client) >= _THREADS * self.limits.client_connections
            ):
                return False
            room = True
            if not local and len(mine) >= self.limits.client_connections:
                room = self._drop_one(mine)
            elif len(self._open) >= self.limits.connections:
                room = self._drop_one(self._open)
            if room:
                self._open.append(request)
            return room

    def _drop_one(self, candidates: list[GuardedSocket]) -> bool:
        """End the oldest connection without association, or the association idle for longest."""
        pending = [one for one in candidates if not one.established]
        before = time.monotonic() - self.limits.idle_seconds
        idle = sorted((one for one in candidates if one.last < before), key=lambda one: one.last)
        for victim in (*pending[:1], *idle[:1]):
            victim.shutdown(socket.SHUT_RDWR)
            self._open.remove(victim)
            return True
        return False
