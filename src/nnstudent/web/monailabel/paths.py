"""Which addresses belong to the protocol, and which of its requests carry files."""

from __future__ import annotations

_ROOTS = ("info", "infer", "datastore", "activelearning", "train", "logs", "session", "auth")
_OPEN = ("/auth", "/auth/", "/auth/token")  # by these a client gets its token


def is_protocol(path: str) -> bool:
    """Return whether an address belongs to the protocol."""
    return path.lstrip("/").split("/", 1)[0] in _ROOTS


def is_open(path: str) -> bool:
    """Return whether an address of the protocol is answered without a token."""
    return path in _OPEN


def carries_files(method: str, path: str) -> bool:
    """Return whether a request of the protocol may be as long as an upload."""
    if method == "POST":
        return path.startswith("/infer/")
    return method == "PUT" and path.rstrip("/") in ("/datastore", "/datastore/label", "/session")
