"""Credentials for a PACS: from the environment or a netrc file, never from the command line."""

from __future__ import annotations

import base64
import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from nnstudent.errors import InputError
from nnstudent.web.settings import PACS_VARIABLES

USER, PASSWORD, TOKEN = PACS_VARIABLES


def authorization(url: str, *, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the ``Authorization`` header for an address; None if there are no credentials for it.

    A token in ``NNSTUDENT_PACS_TOKEN`` takes precedence over ``NNSTUDENT_PACS_USER`` and
    ``NNSTUDENT_PACS_PASSWORD``, and these over the host's entry in the file that ``NETRC`` names,
    by default ``~/.netrc``.

    Raises:
        InputError: The user has no password, or the file cannot be read.
    """
    if token := environment.get(TOKEN):
        return f"Bearer {token}"
    user, password = environment.get(USER), environment.get(PASSWORD)
    if bool(user) != bool(password):
        raise InputError(f"only one of {USER} and {PASSWORD} is set; expected both")
    if not user or not password:
        path = Path(environment.get("NETRC") or Path.home() / ".netrc")
        try:
            found = netrc.netrc(path).hosts.get(_host(url)) if path.is_file() else None
        except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as error:
            kind = type(error).__name__  # not its text, which can quote the file
            raise InputError(
                f"{path}: cannot be read as netrc ({kind}); it must be readable by its owner alone"
            ) from None
        if not found:
            return None
        user, _, password = found
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # it is refused, without its password, by who connects to it
        return ""
