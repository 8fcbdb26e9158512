"""Sessions: the secret that is kept on disk, and the signed cookies that identify a user."""

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
TOKEN_LENGTH = 16  # fewest characters of a token that somebody chose
_TICKET_SECONDS = 120.0


def load_or_create_secret(path: Path) -> str:
    """Read a random secret, or create it in a file that only its owner can read.

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


def _equal(given: str, expected: str) -> bool:
    """Compare two secrets in a time that does not reveal where they differ."""
    return hmac.compare_digest(
        given.encode("utf-8", "replace"), expected.encode("utf-8", "replace")
    )


class Sessions:
    """Signed cookies that identify users; nothing about them is stored, even across a restart."""

    def __init__(self, secret: str, settings: Settings) -> None:
        """Sign with this secret and the service's token, so that a new token ends all sessions."""
        key = f"{secret}\n{settings.token}"
        self._cookies = TimestampSigner(key, salt="nnstudent cookie")
        self._owners = Signer(key, salt="nnstudent owner")
        self._token = settings.token
        self._tickets: dict[str, float] = {}
        self.cookie = f"nnstudent-{settings.port}"

    def new_cookie(self) -> str:
        """Return a cookie's value for a new user."""
        return self._cookies.sign(secrets.token_urlsafe(32)).decode("ascii")

    def owner_of_cookie(self, value: str) -> str | None:
        """Return whose cookie this is; None if it is not ours, or too old."""
        try:
            id = self._cookies.unsign(
                value.encode("utf-8", "replace"), max_age=SESSION_DAYS * 86400
            )
        except BadSignature:
            return None
        return self.owner_name(id.decode("ascii", "replace"))

    def owner_of_header(self, cookies: str) -> str | None:
        """Return who sent this ``Cookie`` header; None if it has no valid cookie of ours."""
        try:
            found = SimpleCookie(cookies).get(self.cookie)
        except CookieError:
            return None
        return None if found is None else self.owner_of_cookie(found.value)

    def owner_name(self, id: str) -> str:
        """Return the name under which a user's jobs are kept; it does not reveal the cookie."""
        return self._owners.get_signature(id.encode("utf-8", "replace")).decode("ascii")

    def set_cookie(self, value: str, *, secure: bool) -> str:
        """Return the header that gives a user a session."""
        age = SESSION_DAYS * 86400
        end = "; Secure" if secure else ""
        return f"{self.cookie}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{end}"

    def is_token(self, given: str) -> bool:
        """Return whether this is the token."""
        return _equal(given, self._token)

    def new_ticket(self) -> str:
        """Return a ticket for one session within two minutes.

        Unlike the token it may appear in an address that others can see.
        """
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = time.monotonic() + _TICKET_SECONDS
        return ticket

    def accepts(self, given: str) -> bool:
        """Return whether this is the token, or a ticket that has not been used."""
        ticket = next((ticket for ticket in list(self._tickets) if _equal(given, ticket)), None)
        if ticket is not None:
            return time.monotonic() < self._tickets.pop(ticket, 0.0)
        return self.is_token(given)
