"""Secrets of the service: the key that is kept on disk, and the signed cookies that say who somebody is."""

from __future__ import annotations

import hmac
import secrets
import time
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from itsdangerous import BadSignature, Signer, TimestampSigner

from nnstudent.io.atomic import replacing
from nnstudent.web.settings import Settings

SESSION_DAYS = 30
TOKEN_LENGTH = 16  # the least number of characters of a token that somebody chose
_TICKET_SECONDS = 120.0


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


def same(given: str, wanted: str) -> bool:
    """Whether two secrets are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


class Sessions:
    """Cookies that say who somebody is. They are signed, so nothing needs to be remembered of them, even over a restart."""

    def __init__(self, secret: str, settings: Settings) -> None:
        """Sessions under a secret; a service with another token has other sessions."""
        key = f"{secret}\n{settings.token}"
        self._cookies = TimestampSigner(key, salt="nnstudent cookie")
        self._owners = Signer(key, salt="nnstudent owner")
        self._token = settings.token
        self._tickets: dict[str, float] = {}
        self.cookie = f"nnstudent-{settings.port}"

    def new(self) -> str:
        """The value of a cookie for somebody new."""
        return self._cookies.sign(secrets.token_urlsafe(32)).decode("ascii")

    def owner(self, value: str) -> str | None:
        """Who shows this cookie; None if it is none of ours, or too old."""
        try:
            id = self._cookies.unsign(
                value.encode("utf-8", "replace"), max_age=SESSION_DAYS * 86400
            )
        except BadSignature:
            return None
        return self.name(id.decode("ascii", "replace"))

    def owner_of(self, cookies: str) -> str | None:
        """Who sends this ``Cookie`` header."""
        try:
            found = SimpleCookie(cookies).get(self.cookie)
        except CookieError:
            return None
        return None if found is None else self.owner(found.value)

    def name(self, id: str) -> str:
        """Under what name somebody's jobs are kept, from which nobody can make the cookie."""
        return self._owners.get_signature(id.encode("utf-8", "replace")).decode("ascii")

    def set_cookie(self, value: str, *, secure: bool) -> str:
        """The header that gives somebody a session."""
        end = "; Secure" if secure else ""
        return f"{self.cookie}={value}; Path=/; Max-Age={SESSION_DAYS * 86400}; HttpOnly; SameSite=Strict{end}"

    def is_token(self, given: str) -> bool:
        """Whether this is the token."""
        return same(given, self._token)

    def ticket(self) -> str:
        """What is good for one session within two minutes: it may stand in an address that others see."""
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = time.monotonic() + _TICKET_SECONDS
        return ticket

    def admits(self, given: str) -> bool:
        """Whether this is the token, or a ticket that has not been used."""
        ticket = next((ticket for ticket in list(self._tickets) if same(given, ticket)), None)
        if ticket is not None:
            return time.monotonic() < self._tickets.pop(ticket, 0.0)
        return self.is_token(given)
