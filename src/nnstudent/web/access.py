"""Access control: host names, requests from other sites, the token, and the owner of a request."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nnstudent.web.monailabel.paths import carries_files, is_open, is_protocol
from nnstudent.web.sessions import Sessions
from nnstudent.web.settings import Settings
from nnstudent.web.throttle import LoginThrottle

_SAFE = ("GET", "HEAD", "OPTIONS")
SESSION = "/api/session"
UPLOAD = "/api/jobs"
CLICK = "/api/datastore/click"
HEADER_BYTES = 16_384
_BODY_BYTES = 10_000  # of any request but an upload
_KNOWN = "nnstudent.known_host"
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
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
    """Return whether only this machine can reach a host name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Access:
    """Middleware in front of the application: rejects requests, and names the owner of the others.

    The owner is in ``scope["state"]["owner"]``. These rules hold:

    - ``Host`` must be a name of this service; an address is accepted if other machines can reach
      the service. This prevents DNS rebinding, which gives a foreign page this service's origin.
    - A browser's request that changes something must come from this service's own page, according
      to ``Origin`` or else ``Sec-Fetch-Site``.
      Pages of the sites in ``Settings.origins`` may use the datastore.
    - If there is a token, every request under ``/api`` and to the datastore needs it as bearer
      token, or the cookie that it was exchanged for. A client that guesses must wait.
    - All of this is decided before a body is read. A body that is not an upload must be short, and
      arrive in time.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        sessions: Sessions,
        throttle: LoginThrottle | None = None,
    ) -> None:
        """Protect an application."""
        self._app = app
        self._requires_token = bool(settings.token)
        self._sessions = sessions
        self._throttle = throttle or LoginThrottle()
        self._has_datastore = settings.datastore is not None
        self._origins = frozenset(origin.lower().rstrip("/") for origin in settings.origins)
        self._seconds = settings.limits.request_seconds
        self._is_public = not is_loopback(settings.host)
        names = {"localhost", settings.host.lower(), *(name.lower() for name in settings.names)}
        names |= (
            {socket.gethostname().lower(), socket.getfqdn().lower()} if self._is_public else set()
        )
        self._hosts = TrustedHostMiddleware(
            _mark_known, allowed_hosts=sorted(names), www_redirect=False
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it to the application."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        protocol = self._has_datastore and is_protocol(scope["path"])
        api = protocol or scope["path"].startswith("/api/") or scope["path"] == "/api"
        cookies: list[str] = []
        origin = self._foreign(scope) if protocol else None
        secured = _secured(send, api=api, cookies=cookies, origin=origin)
        refusal = await self._check(scope, origin=origin)
        if refusal is None and origin is not None and scope["method"] == "OPTIONS":
            await Response(status_code=204)(scope, receive, secured)  # a browser asks beforehand
            return
        refusal = refusal or self._sign_in(scope, api=api, cookies=cookies)
        if refusal is None and self._is_short(scope):
            try:
                receive = await self._read_short_body(receive)
            except _BodyError as broken:
                refusal = _error(broken.status, str(broken))
                refusal.headers["Connection"] = "close"
        if refusal is not None and protocol:
            refusal = in_protocol(refusal)
        await (refusal or self._app)(scope, receive, secured)

    def _foreign(self, scope: Scope) -> str | None:
        """Return the origin of another site's page that may use the datastore; else None."""
        origin = Headers(scope=scope).get("origin", "")
        return origin if origin.lower() in self._origins else None

    def _is_short(self, scope: Scope) -> bool:
        """Return whether a request changes something and is not an upload."""
        method, path = scope["method"], scope["path"]
        labels = path.startswith(f"{UPLOAD}/") and path.endswith("/labels")
        long = self._has_datastore and (labels or path == CLICK or carries_files(method, path))
        return method not in _SAFE and not long and not (path == UPLOAD and method == "POST")

    async def _check(self, scope: Scope, *, origin: str | None) -> Response | None:
        """Return the error of a request that no user may send; None if there is none."""
        headers = Headers(scope=scope)
        if refusal := _malformed(scope, headers):
            refusal.headers["Connection"] = "close"
            return refusal
        if not await self._is_known_host(scope, headers.get("host", "")):
            return _error(
                421,
                "this service does not have that name; add it with --name, or use the address that "
                "was printed",
            )
        if scope["method"] in _SAFE:
            return None
        if origin is None and not _is_same_site(headers):
            return _error(
                403, "sent by another site's page; only this service's own page may send it"
            )
        if self._is_short(scope):
            length = headers.get("content-length", "0")
            if "transfer-encoding" in headers or not is_below(length, _BODY_BYTES):
                return _error(413, f"a request of more than {_BODY_BYTES} bytes")
        return None

    async def _is_known_host(self, scope: Scope, host: str) -> bool:
        try:
            address = ipaddress.ip_address(urlsplit(f"//{host}").hostname or "")
            urlsplit(f"//{host}").port  # noqa: B018  # raises if it is malformed
        except ValueError:
            await self._hosts(scope, _no_message, _discard)  # marks the scope if the host is known
            return bool(scope.pop(_KNOWN, False))
        # A foreign page cannot have an address as its host, unless it runs there.
        return self._is_public or address.is_loopback

    def _sign_in(self, scope: Scope, *, api: bool, cookies: list[str]) -> Response | None:
        """Find the owner of a request, and return an error if the token is missing.

        Without a token, a new user gets a cookie.
        """
        headers = Headers(scope=scope)
        owner = self._sessions.owner_of_header(headers.get("cookie", ""))
        if not self._requires_token:
            if owner is None:
                fresh = self._sessions.new_cookie()
                owner = self._sessions.owner_of_cookie(fresh)
                cookies.append(self._sessions.set_cookie(fresh, secure=scope["scheme"] == "https"))
        elif api:
            host = client_host(scope)
            kind, _, given = headers.get("authorization", "").partition(" ")
            shows = kind.lower() == "bearer"
            if (shows or scope["path"] == SESSION) and (wait := self._throttle.wait(host)):
                refusal = _error(429, f"too many wrong tokens; try again in {wait:.0f} s")
                refusal.headers["Retry-After"] = f"{wait + 0.5:.0f}"
                return refusal
            if shows and self._sessions.is_token(given.strip()):
                self._throttle.succeeded(host)
                owner = owner or self._sessions.owner_name("bearer")
            elif shows:
                self._throttle.failed(host)
            opened = self._has_datastore and is_open(scope["path"])
            if owner is None and scope["path"] != SESSION and not opened:
                refusal = _error(
                    401, "a token is required; it was set or printed when the service was started"
                )
                refusal.headers["WWW-Authenticate"] = "Bearer"
                return refusal
        scope.setdefault("state", {}).update(owner=owner, throttle=self._throttle)
        return None

    async def _read_short_body(self, receive: Receive) -> Receive:
        """Read a short body completely, so that no client keeps the application waiting for it."""
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self._seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _BodyError(400, "the connection was closed during the request")
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > _BODY_BYTES:
                        raise _BodyError(413, f"a request of more than {_BODY_BYTES} bytes")
        except TimeoutError:
            raise _BodyError(
                408, f"the request did not arrive within {self._seconds:g} s"
            ) from None
        messages = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        return again


class _BodyError(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def client_host(scope: Scope) -> str:
    """Return a client's address; behind a proxy on this machine, the one that the proxy names."""
    return str(scope["client"][0]) if scope.get("client") else ""


def _owner(request: Request) -> str:
    return str(request.state.owner)


Owner = Annotated[str, Depends(_owner)]  # a route's parameter for the owner of the request


def in_protocol(refusal: Response) -> Response:
    """Return an error in the form that the clients of the datastore expect."""
    why = json.loads(bytes(refusal.body))["error"]
    answer = JSONResponse({"detail": why}, refusal.status_code)
    kept = ("www-authenticate", "retry-after", "connection", "allow")
    for name, value in refusal.headers.items():
        if name in kept:
            answer.headers[name] = value
    return answer


def _secured(send: Send, *, api: bool, cookies: list[str], origin: str | None) -> Send:
    async def secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            out = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                out[name] = value
            if api:
                out["Cache-Control"] = "no-store"
            if origin is not None:
                out["Access-Control-Allow-Origin"] = origin
                out["Access-Control-Allow-Methods"] = "GET, PUT, POST, DELETE"
                out["Access-Control-Allow-Headers"] = "content-type, authorization"
                out["Vary"] = "Origin"
            for cookie in cookies:
                out.append("Set-Cookie", cookie)
        await send(message)

    return secured


def _malformed(scope: Scope, headers: Headers) -> Response | None:
    """Return the error of a request that HTTP allows but no honest client sends."""
    if scope.get("http_version", "1.1") not in ("1.0", "1.1", "2"):
        return _error(505, "an unknown version of HTTP; expected 1.1")
    if len(scope.get("raw_path") or b"") + len(scope.get("query_string", b"")) > HEADER_BYTES:
        return _error(414, f"an address of more than {HEADER_BYTES} bytes")
    if sum(len(name) + len(value) for name, value in headers.raw) > HEADER_BYTES:
        return _error(431, f"headers of more than {HEADER_BYTES} bytes")
    if "content-length" in headers and "transfer-encoding" in headers:  # ambiguous end of the body
        return _error(
            400, "a request with both Content-Length and Transfer-Encoding; send one of them"
        )
    return None


def is_below(length: str, most: int) -> bool:
    """Return whether the text of a ``Content-Length`` is at most ``most`` bytes."""
    return length.isascii() and length.isdecimal() and len(length) < 20 and int(length) <= most


def _is_same_site(headers: Headers) -> bool:
    """Return whether a request was sent by this service's own page, or not by a page at all."""
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


async def _mark_known(scope: Scope, receive: Receive, send: Send) -> None:
    scope[_KNOWN] = True


async def _no_message() -> Message:
    return {"type": "http.disconnect"}


async def _discard(message: Message) -> None:
    return None


def _error(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status)
