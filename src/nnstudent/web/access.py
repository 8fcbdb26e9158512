"""Who may: by what host name the service was called, what page sent a request, who shows the token, whose job it is."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nnstudent.web.guesses import Guesses
from nnstudent.web.sessions import Sessions
from nnstudent.web.settings import Settings

_SAFE = ("GET", "HEAD", "OPTIONS")
SESSION = "/api/session"
UPLOAD = "/api/jobs"
HEADER_BYTES = 16_384
_BODY_BYTES = 10_000  # of anything but an upload
_KNOWN = "nnstudent.known_host"
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at a host name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Access:
    """Middleware in front of everything: refuses who may not, and says in ``scope["state"]["owner"]`` who asks.

    - The ``Host`` must be a name of this service, or an address where it is reached by others too: against DNS rebinding,
      by which a foreign page gets this service as its own origin.
    - What changes something must come from this service's own page, if a browser sent it: by ``Origin``, else ``Sec-Fetch-Site``.
    - With a token, whatever is under ``/api`` needs it as bearer, or the cookie that it was exchanged for. Who guesses has to wait.
    - All of this is decided before a body is read. What is no upload may only be short, and must come soon.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, sessions: Sessions, guesses: Guesses | None = None
    ) -> None:
        """Put it in front of an application."""
        self._app = app
        self._asks = bool(settings.token)
        self._sessions = sessions
        self._guesses = guesses or Guesses()
        self._seconds = settings.limits.request_seconds
        self._open = not is_loopback(settings.host)
        names = {"localhost", settings.host.lower(), *(name.lower() for name in settings.names)}
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()} if self._open else set()
        self._hosts = TrustedHostMiddleware(
            _note_known, allowed_hosts=sorted(names), www_redirect=False
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        api = scope["path"].startswith("/api/") or scope["path"] == "/api"
        cookies: list[str] = []
        refused = await self._refusal(scope) or self._sign_in(scope, api=api, cookies=cookies)
        secured = _secured(send, api=api, cookies=cookies)
        if refused is None and _is_short(scope):
            try:
                receive = await self._whole_body(receive)
            except _NoBodyError as error:
                refused = _no(error.status, str(error))
                refused.headers["Connection"] = "close"
        await (refused or self._app)(scope, receive, secured)

    async def _refusal(self, scope: Scope) -> Response | None:
        """The answer to what must not be, whoever asks."""
        headers = Headers(scope=scope)
        if refused := _malformed(scope, headers):
            refused.headers["Connection"] = "close"
            return refused
        if not await self._is_meant(scope, headers.get("host", "")):
            return _no(
                421,
                "this service is not known by that name; give it with --name, or use the address that was printed",
            )
        if scope["method"] in _SAFE:
            return None
        if not _is_from_here(headers):
            return _no(403, "sent by another site's page; only this service's own page may")
        if _is_short(scope):
            length = headers.get("content-length", "0")
            if "transfer-encoding" in headers or not is_below(length, _BODY_BYTES):
                return _no(413, f"a request of more than {_BODY_BYTES} bytes")
        return None

    async def _is_meant(self, scope: Scope, host: str) -> bool:
        try:
            address = ipaddress.ip_address(urlsplit(f"//{host}").hostname or "")
            urlsplit(f"//{host}").port  # noqa: B018  # which raises where it is none
        except ValueError:
            await self._hosts(
                scope, _nothing, _nowhere
            )  # says by a mark in the scope what it thinks
            return bool(scope.pop(_KNOWN, False))
        return (
            self._open or address.is_loopback
        )  # no foreign page has an address as its host, short of running there

    def _sign_in(self, scope: Scope, *, api: bool, cookies: list[str]) -> Response | None:
        """Find out who asks. Newcomers get a cookie where there is no token; who must show one and does not is refused."""
        headers = Headers(scope=scope)
        owner = self._sessions.owner_of(headers.get("cookie", ""))
        if not self._asks:
            if owner is None:
                fresh = self._sessions.new()
                owner = self._sessions.owner(fresh)
                cookies.append(self._sessions.set_cookie(fresh, secure=scope["scheme"] == "https"))
        elif api:
            host = client_host(scope)
            kind, _, given = headers.get("authorization", "").partition(" ")
            shows = kind.lower() == "bearer"
            if (shows or scope["path"] == SESSION) and (wait := self._guesses.wait(host)):
                refused = _no(429, f"too many wrong tokens; try again in {wait:.0f} s")
                refused.headers["Retry-After"] = f"{wait + 0.5:.0f}"
                return refused
            if shows and self._sessions.is_token(given.strip()):
                self._guesses.right(host)
                owner = owner or self._sessions.name("bearer")
            elif shows:
                self._guesses.wrong(host)
            if owner is None and scope["path"] != SESSION:
                refused = _no(
                    401, "a token is needed; it was set or printed where the service was started"
                )
                refused.headers["WWW-Authenticate"] = "Bearer"
                return refused
        scope.setdefault("state", {}).update(owner=owner, guesses=self._guesses)
        return None

    async def _whole_body(self, receive: Receive) -> Receive:
        """Read a short body to its end, so that nobody keeps the application waiting for it."""
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self._seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _NoBodyError(400, "the request was broken off")
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > _BODY_BYTES:
                        raise _NoBodyError(413, f"a request of more than {_BODY_BYTES} bytes")
        except TimeoutError:
            raise _NoBodyError(
                408, f"the request did not come within {self._seconds:g} s"
            ) from None
        messages = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        return again


class _NoBodyError(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def client_host(scope: Scope) -> str:
    """The address that a request came from; behind a proxy on this machine, the one that the proxy names."""
    return str(scope["client"][0]) if scope.get("client") else ""


def _owner(request: Request) -> str:
    return str(request.state.owner)


Owner = Annotated[str, Depends(_owner)]  # what a route asks for to know who asks


def _secured(send: Send, *, api: bool, cookies: list[str]) -> Send:
    async def secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            out = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                out[name] = value
            if api:
                out["Cache-Control"] = "no-store"
            for cookie in cookies:
                out.append("Set-Cookie", cookie)
        await send(message)

    return secured


def _malformed(scope: Scope, headers: Headers) -> Response | None:
    """The answer to what HTTP allows, but nobody sends who means well."""
    if scope.get("http_version", "1.1") not in ("1.0", "1.1", "2"):
        return _no(505, "a version of HTTP that is not known; expected 1.1")
    if len(scope.get("raw_path") or b"") + len(scope.get("query_string", b"")) > HEADER_BYTES:
        return _no(414, f"an address of more than {HEADER_BYTES} bytes")
    if sum(len(name) + len(value) for name, value in headers.raw) > HEADER_BYTES:
        return _no(431, f"headers of more than {HEADER_BYTES} bytes")
    if (
        "content-length" in headers and "transfer-encoding" in headers
    ):  # two answers to where the body ends
        return _no(
            400, "a request with both Content-Length and Transfer-Encoding; send one of them"
        )
    return None


def _is_short(scope: Scope) -> bool:
    """Whether a request changes something and is no upload."""
    return scope["method"] not in _SAFE and not (
        scope["path"] == UPLOAD and scope["method"] == "POST"
    )


def is_below(length: str, most: int) -> bool:
    """Whether the text of a ``Content-Length`` is a number of at most ``most`` bytes."""
    return length.isascii() and length.isdecimal() and len(length) < 20 and int(length) <= most


def _is_from_here(headers: Headers) -> bool:
    """Whether a request was sent by this service's own page, or by no page at all."""
    origin = headers.get("origin")
    if origin is not None:
        try:
            sent = urlsplit(origin)
        except ValueError:
            return False
        return (
            sent.scheme in ("http", "https")
            and sent.netloc.lower() == headers.get("host", "").lower()
        )
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none")


async def _note_known(scope: Scope, receive: Receive, send: Send) -> None:
    scope[_KNOWN] = True


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


async def _nowhere(message: Message) -> None:
    return None


def _no(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status)
