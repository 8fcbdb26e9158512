"""The socket side of C-STORE: pynetdicom's server, with limits on connections, on the length of a PDU and on the time it takes.

pynetdicom itself waits for ever for the rest of a PDU, reads as much as its header says, and counts connections that have
asked for nothing yet as associations.
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
from nnstudent.web.guesses import network
from nnstudent.web.settings import ListenLimits

_ENDING = 4  # times as many threads as connections: one that was ended lives until its association would have timed out
_HEADER = 6  # bytes of a PDU before its content: type, reserved, length


class GuardedSocket(socket.socket):
    """One connection. It reads PDUs that are neither too long nor too slow."""

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
            OSError: The PDU is too long, or does not come in time.
        """
        now = time.monotonic()
        if not self._left and not self._header:
            self._due = now + self._limits.pdu_seconds
        if now >= self._due:
            raise TimeoutError("a PDU that does not come in time")
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
        """End the connection; whoever reads from it finds that out. What has ended already is no error: it is still to be closed."""
        with suppress(OSError):
            super().shutdown(how)


class _Machine(StateMachine):
    """Ends an association whose peer does what the protocol does not know, where the library would raise in a thread."""

    def do_action(self, event: str) -> None:
        try:
            super().do_action(event)
        except InvalidEventError:
            if self.dul.socket is not None:
                self.dul.socket.close()
            self.dul.kill_dul()


class Handler(RequestHandler):
    """Makes the association of a connection."""

    def _create_association(self) -> Any:
        association = super()._create_association()
        association.dul.state_machine = _Machine(association.dul)
        return association


class GuardedServer(ThreadedAssociationServer):
    """pynetdicom's server that finds room for a new connection in place of one that does nothing."""

    limits = ListenLimits()

    def __init__(self, *args: Any, **more: Any) -> None:
        """As its base."""
        self._open: list[GuardedSocket] = []  # in the order of arrival
        self._counting = threading.Lock()
        super().__init__(*args, **more)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection."""
        accepted, address = super().get_request()
        return GuardedSocket(accepted, str(address[0]), self.limits), address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for it."""
        with self._counting:
            self._open = [one for one in self._open if one.fileno() >= 0]
            mine = [one for one in self._open if network(one.client) == network(request.client)]
            threads = [str(thread.requestor.address) for thread in self.active_associations]
            local = is_loopback(request.client)
            if len(threads) >= _ENDING * self.limits.connections:
                return False
            if (
                not local
                and threads.count(request.client) >= _ENDING * self.limits.client_connections
            ):
                return False
            room = True
            if not local and len(mine) >= self.limits.client_connections:
                room = self._end_one(mine)
            elif len(self._open) >= self.limits.connections:
                room = self._end_one(self._open)
            if room:
                self._open.append(request)
            return room

    def _end_one(self, candidates: list[GuardedSocket]) -> bool:
        """End the oldest that has no association, else the association that did nothing for longest."""
        pending = [one for one in candidates if not one.established]
        before = time.monotonic() - self.limits.idle_seconds
        idle = sorted((one for one in candidates if one.last < before), key=lambda one: one.last)
        for victim in (*pending[:1], *idle[:1]):
            victim.shutdown(socket.SHUT_RDWR)
            self._open.remove(victim)
            return True
        return False
