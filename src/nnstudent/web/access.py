"""Who may: what host a browser must have meant, what page must have sent a request, who shows the token, whose job it is."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nnstudent.io.atomic import replacing
from nnstudent.web.settings import Settings

SESSION_DAYS = 30
TOKEN_LENGTH = 16  # the least number of characters of a token that somebody chose
_SAFE = ("GET", "HEAD", "OPTIONS")
SESSION = "/api/session"
UPLOAD = "/api/jobs"
_BODY_BYTES = 10_000  # of anything but an upload
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
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


def kept_secret(path: Path) -> str:
    """A random secret that is the same after a restart, in a file that only its owner reads.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    if len(text) < TOKEN_LENGTH:
        text = secrets.token_urlsafe(32)
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(text + "\n", "ascii")
    return text


class Sessions:
    """Cookies that say who somebody is. They are signed, so that nothing needs to be remembered of them, even over a restart."""

    def __init__(self, secret: str, settings: Settings) -> None:
        """Sessions under a secret; a service with another token has other sessions."""
        self._key = hashlib.sha256(f"{secret}\n{settings.token}".encode()).digest()
        self.cookie = f"nnstudent-{settings.port}"

    def new(self) -> str:
        """The value of a cookie for somebody new."""
        id = secrets.token_urlsafe(32)
        return f"{id}.{self._mac(id)}"

    def owner(self, value: str) -> str | None:
        """Who shows this cookie; None if it is none of ours."""
        id, _, mac = value.partition(".")
        return self.name(id) if same(mac, self._mac(id)) else None

    def name(self, id: str) -> str:
        """Under what name somebody's jobs are kept, from which nobody can make the cookie."""
        return hmac.new(self._key, f"owner {id}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]

    def set_cookie(self, value: str, *, secure: bool) -> str:
        """The header that gives somebody a session."""
        end = "; Secure" if secure else ""
        return f"{self.cookie}={value}; Path=/; Max-Age={SESSION_DAYS * 86400}; HttpOnly; SameSite=Strict{end}"

    def _mac(self, id: str) -> str:
        return hmac.new(self._key, f"cookie {id}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def same(given: str, wanted: str) -> bool:
    """Whether two secrets are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


class Access:
    """Middleware in front of everything: refuses who may not, and says in ``scope["state"]["owner"]`` who asks.

    - The ``Host`` must be a name of this service, or an address where it is reached by others too: against DNS rebinding,
      by which a foreign page gets this service as its own origin.
    - What changes something must come from this service's own page, if a browser sent it: by ``Origin``, else ``Sec-Fetch-Site``.
    - With a token, whatever is under ``/api`` needs it as bearer, or the cookie that it was exchanged for.
    """

    def __init__(self, app: ASGIApp, settings: Settings, sessions: Sessions) -> None:
        """Put it in front of an application."""
        self._app = app
        self._token = settings.token
        self._sessions = sessions
        self._open = not is_loopback(settings.host)
        names = {"localhost", settings.host.lower(), *(name.lower() for name in settings.names)}
        self._names = names | ({socket.gethostname().lower(), socket.getfqdn().lower()} if self._open else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        api = scope["path"].startswith("/api/") or scope["path"] == "/api"
        cookies: list[str] = []

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    out[name] = value
                if api:
                    out["Cache-Control"] = "no-store"
                for cookie in cookies:
                    out.append("Set-Cookie", cookie)
            await send(message)

        refused: Response | None = self._refusal(scope, headers)
        if refused is None:
            owner, fresh = self._who(headers)
            if owner is None and api and scope["path"] != SESSION:
                refused = _no(401, "a token is needed; it was printed where the service was started")
                refused.headers["WWW-Authenticate"] = "Bearer"
            elif fresh:
                cookies.append(self._sessions.set_cookie(fresh, secure=scope["scheme"] == "https"))
            scope.setdefault("state", {})["owner"] = owner
        if refused is not None:
            await refused(scope, receive, secured)
        else:
            await self._app(scope, receive, secured)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        """The answer to what must not be, whoever asks."""
        if not self._is_meant(headers.get("host", "")):
            return _no(421, "this service is not known by that name; give it with --name, or use the address that was printed")
        if scope["method"] in _SAFE:
            return None
        if not _is_from_here(headers):
            return _no(403, "sent by another site's page; only this service's own page may")
        if scope["path"] != UPLOAD:
            length = headers.get("content-length", "0")
            if "transfer-encoding" in headers or not length.isdecimal() or int(length) > _BODY_BYTES:
                return _no(413, f"a request of more than {_BODY_BYTES} bytes")
        return None

    def _is_meant(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return self._open or address.is_loopback  # no foreign page has an address as its host, short of running there

    def _who(self, headers: Headers) -> tuple[str | None, str]:
        """Who asks, and the cookie to give them if they are new."""
        owner = self._of_cookie(headers)
        if not self._token:
            if owner is not None:
                return owner, ""
            fresh = self._sessions.new()
            return self._sessions.owner(fresh), fresh
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and same(given.strip(), self._token):
            return owner or self._sessions.name("bearer"), ""
        return owner, ""

    def _of_cookie(self, headers: Headers) -> str | None:
        try:
            jar = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return None
        found = jar.get(self._sessions.cookie)
        return None if found is None else self._sessions.owner(found.value)


def _owner(request: Request) -> str:
    return str(request.state.owner)


Owner = Annotated[str, Depends(_owner)]  # what a route asks for to know who asks


def _is_from_here(headers: Headers) -> bool:
    """Whether a request was sent by this service's own page, or by no page at all."""
    origin = headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() if "://" in origin else False
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def _no(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status)
