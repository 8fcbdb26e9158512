"""The server of the service: uvicorn with limits on idle connections and on their number.

uvicorn alone waits forever for the headers of a request and for a client that does not read, and
its limit counts connections that have not sent a request yet. Here an idle connection is closed
after a while, and at once if another connection needs its place.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from nnstudent.web.access import HEADER_BYTES, HEADERS, is_loopback
from nnstudent.web.settings import Limits
from nnstudent.web.throttle import client_key

_KEEP_ALIVE_SECONDS = 5
ADMITTED = "admitted"  # in a request's state: its upload was admitted, so it is not dropped


def make_server(app: Any, limits: Limits, *, debug: bool = False) -> uvicorn.Server:
    """Create a server for an application, to be run with a listening socket.

    Args:
        app: The ASGI application.
        limits: Limits of time and of the number of connections.
        debug: Whether uvicorn may write tracebacks, which can name a file.
    """
    protocol = type(
        "Limited", (GuardedProtocol,), {"limits": limits, "gate": ConnectionGate(limits)}
    )
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        log_level="warning" if debug else "critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )
    return uvicorn.Server(config)


class ConnectionGate:
    """Counts connections by client, and makes room for a new one."""

    def __init__(self, limits: Limits) -> None:
        """Start without any connection."""
        self._limits = limits
        self._open: dict[GuardedProtocol, str] = {}  # in the order in which they were opened

    def enter(self, connection: GuardedProtocol, host: str) -> bool:
        """Admit a connection, dropping an idle one if necessary; False if there is no room."""
        client = client_key(host)
        mine = [other for other, key in self._open.items() if key == client]
        room = True
        # Connections from loopback may come from a proxy, for many clients.
        if not is_loopback(host) and len(mine) >= self._limits.client_connections:
            room = self._drop_one(mine)
        elif len(self._open) >= self._limits.connections:
            most, _ = Counter(self._open.values()).most_common(1)[0]
            crowd = [other for other, key in self._open.items() if key == most]
            room = self._drop_one(crowd) or self._drop_one(list(self._open))
        if room:
            self._open[connection] = client
        return room

    def leave(self, connection: GuardedProtocol) -> None:
        """Forget a connection."""
        self._open.pop(connection, None)

    def _drop_one(self, candidates: Iterable[GuardedProtocol]) -> bool:
        idle = [one for one in candidates if one.is_idle]
        if not idle:
            return False
        # The oldest without a request; if all have one, the oldest.
        victim = min(idle, key=lambda one: one.is_busy)
        self.leave(victim)
        victim.transport.abort()
        return True


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with time limits."""

    limits: Limits
    gate: ConnectionGate
    _timer: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None
    _paused: float | None = None
    _received = False

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_idle(self) -> bool:
        """Whether it may be dropped.

        It has no request, or waits for a body that was not admitted, or its client does not read.
        """
        if not self.is_busy:
            return True
        if self._paused is not None and self.loop.time() - self._paused > self.limits.yield_seconds:
            return True
        return self.cycle.more_body and not self.scope.get("state", {}).get(ADMITTED)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit a client, or answer that there is no room."""
        super().connection_made(transport)
        if not self.gate.enter(self, self.client[0] if self.client else ""):
            self._refuse(503, "too many connections; try again later")
            return
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a client."""
        self.gate.leave(self)
        self._cancel_deadline()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process a piece; headers, and anything sent after the response, must end in time."""
        if self.transport.is_closing():
            return
        self._received = True
        super().data_received(data)
        if self.is_busy:
            self._cancel_deadline()
        elif self._timer is None:
            self._set_deadline()

    def pause_writing(self) -> None:
        """Start the time limit of a client that does not read."""
        super().pause_writing()
        self._paused = self.loop.time()
        self._writing = self.loop.call_later(self.limits.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Continue to write."""
        super().resume_writing()
        self._paused = None
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, even if the client does not read the rest."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(self.limits.stall_seconds, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Answer malformed HTTP in the format of all errors."""
        self._refuse(400, "not a valid HTTP request")

    def _set_deadline(self) -> None:
        self._timer = self.loop.call_later(self.limits.request_seconds, self._too_late)

    def _cancel_deadline(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if self._received and not self.is_busy and self.conn.our_state is h11.IDLE:
            self._refuse(
                408, f"the request did not arrive within {self.limits.request_seconds:g} s"
            )
        else:
            self.transport.abort()

    def _refuse(self, status: int, why: str) -> None:
        """Answer without the application, and close the connection."""
        self._cancel_deadline()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": why}).encode()
            headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            headers += [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            reason = {400: b"Bad Request", 408: b"Request Timeout", 503: b"Service Unavailable"}[
                status
            ]
            for event in (
                h11.Response(status_code=status, headers=headers, reason=reason),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self.loop.call_later(self.limits.request_seconds, self.transport.abort)
