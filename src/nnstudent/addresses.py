"""Addresses of the network that users give."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from nnstudent.errors import InputError


def split_address(text: str, *, expected: str) -> SplitResult:
    """Split an address (URL) into its parts, of which the host and the port can be asked for.

    Args:
        text: The address.
        expected: What is expected, for the error, such as ``an address that begins with https://``.

    Raises:
        InputError: The text is no address, or has characters that no address has.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise InputError(f"{text}: is no address ({error}); expected {expected}") from error
    if not text.isascii() or not text.isprintable() or " " in text:
        raise InputError(f"{text}: an address has no such character; expected {expected}")
    return parts
