"""Makes text safe for every output: no lone surrogates, no control characters.

A file name is bytes. Python keeps bytes that it cannot decode as lone surrogates, which no UTF-8
file may hold, and a terminal may know ASCII only. Such characters are spelled out, so that no
output is ever lost because of a name.
"""

from __future__ import annotations

import codecs
import re

# Name of the encoding error handler, for ``str.encode`` and ``TextIOWrapper.reconfigure``.
HANDLER = "nnstudent.readable"
_PLAIN = {
    "×": "x", "–": "-", "—": "-", "−": "-", "…": "...", "±": "+-", "·": ".", "µ": "u", "≤": "<=",
    "≥": ">=", "→": "->", "³": "3", "²": "2", "⁰": "0", "⁹": "9", "’": "'", "‘": "'", "“": '"',
    "”": '"',
}  # fmt: skip
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def readable(text: str) -> str:
    r"""Return a text with unprintable characters spelled out.

    Args:
        text: Any text, such as a path with bytes that are not UTF-8, or words quoted from a file.

    Returns:
        The text with control characters, marks that reverse the writing direction and undecoded
        bytes as ``\xNN`` or ``\uNNNN``. Tabs and line ends are kept.
    """
    return _UNSAFE.sub(lambda match: _spelled(match[0]), text)


def _spelled(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8, as os.fsdecode keeps it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character) or _spelled(character) for character in unknown), error.end


codecs.register_error(HANDLER, _replace)
