"""The server of the service: uvicorn, with limits on how long a connection may do nothing and on how many there are.

uvicorn itself waits for ever for the headers of a request and for a client that does not read, and counts connections that
have asked for nothing yet. Here a connection that does nothing useful is closed after a while, and at once where another needs its place.
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
from nnstudent.web.guesses import network
from nnstudent.web.settings import Limits

_KEEP_ALIVE_SECONDS = 5
ADMITTED = "admitted"  # in a request's state: its body is being taken in, so it does not give way


def make_server(app: Any, limits: Limits, *, debug: bool = False) -> uvicorn.Server:
    """A server of an application, to be run with a socket that listens.

    Args:
        app: The ASGI application.
        limits: Of time and number of connections.
        debug: Whether uvicorn may write tracebacks, which can name a file.
    """
    protocol = type("Limited", (GuardedProtocol,), {"limits": limits, "door": Door(limits)})
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


class Door:
    """Counts connections by client, and finds room for a new one."""

    def __init__(self, limits: Limits) -> None:
        """Nobody is in."""
        self._limits = limits
        self._inside: dict[GuardedProtocol, str] = {}  # in the order of arrival

    def enter(self, one: GuardedProtocol, host: str) -> bool:
        """Let a connection in, if need be in place of one that does nothing useful; False if there is no room."""
        client = network(host)
        mine = [other for other, key in self._inside.items() if key == client]
        room = True
        if (
            not is_loopback(host) and len(mine) >= self._limits.client_connections
        ):  # behind loopback may be a proxy
            room = self._drop_one(mine)
        elif len(self._inside) >= self._limits.connections:
            most, _ = Counter(self._inside.values()).most_common(1)[0]
            crowd = [other for other, key in self._inside.items() if key == most]
            room = self._drop_one(crowd) or self._drop_one(list(self._inside))
        if room:
            self._inside[one] = client
        return room

    def leave(self, one: GuardedProtocol) -> None:
        """Forget a connection."""
        self._inside.pop(one, None)

    def _drop_one(self, candidates: Iterable[GuardedProtocol]) -> bool:
        useless = [one for one in candidates if one.may_go]
        if not useless:
            return False
        victim = min(
            useless, key=lambda one: one.is_busy
        )  # of those that ask for nothing the oldest, else the oldest
        self.leave(victim)
        victim.transport.abort()
        return True


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with limits on time."""

    limits: Limits
    door: Door
    _timer: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None
    _paused: float | None = None
    _came = False

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def may_go(self) -> bool:
        """Whether nothing useful happens: no request, a body that is awaited and was not admitted, or nobody who reads."""
        if not self.is_busy:
            return True
        if self._paused is not None and self.loop.time() - self._paused > self.limits.yield_seconds:
            return True
        return self.cycle.more_body and not self.scope.get("state", {}).get(ADMITTED)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let a client in, or say that there is no room."""
        super().connection_made(transport)
        if not self.door.enter(self, self.client[0] if self.client else ""):
            self._refuse(503, "too many connections; try again later")
            return
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a client."""
        self.door.leave(self)
        self._expect_nothing()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a piece. Headers, and what is still sent after the answer, must end in time."""
        if self.transport.is_closing():
            return
        self._came = True
        super().data_received(data)
        if self.is_busy:
            self._expect_nothing()
        elif self._timer is None:
            self._expect()

    def pause_writing(self) -> None:
        """Give a client that does not read some time."""
        super().pause_writing()
        self._paused = self.loop.time()
        self._writing = self.loop.call_later(self.limits.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._paused = None
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def timeout_keep_alive_handler(self) -> None:
        """Close what is idle; for good, even where the client does not read what is left."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(self.limits.stall_seconds, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Say what is no HTTP, as every error is said."""
        self._refuse(400, "no valid HTTP request")

    def _expect(self) -> None:
        self._timer = self.loop.call_later(self.limits.request_seconds, self._too_late)

    def _expect_nothing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if self._came and not self.is_busy and self.conn.our_state is h11.IDLE:
            self._refuse(408, f"the request did not come within {self.limits.request_seconds:g} s")
        else:
            self.transport.abort()

    def _refuse(self, status: int, why: str) -> None:
        """Answer without the application, and close."""
        self._expect_nothing()
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
