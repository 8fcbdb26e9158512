"""Reads the texts of a DICOM header in the character set that was used, whatever is declared.

The declared one may be misspelled, unknown, or not the one that was used.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnstudent.errors import require

UTF_8 = "ISO_IR 192"
_LATIN_1 = "ISO_IR 100"
_DEFAULT = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
_PERSON = frozenset({"PatientName", "ReferringPhysicianName"})
_TEXT_VRS = frozenset(
    [
        "AE",
        "AS",
        "CS",
        "DA",
        "DS",
        "DT",
        "IS",
        "LO",
        "LT",
        "OB",
        "PN",
        "SH",
        "ST",
        "TM",
        "UC",
        "UI",
        "UN",
        "UT",
    ]
)
_SPELLING = re.compile(r"ISO[ _.-]*(2022)?[ _.-]*IR[ _.-]*(\d+)")
_ESCAPE = re.compile(r"\x1b\$?[()-]?[A-Z]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OTHER_NAMES = {
    "UTF8": UTF_8,
    "ISO88591": _LATIN_1,
    "LATIN1": _LATIN_1,
    "ASCII": "",
    "USASCII": "",
    "ISOIR6": "",
}


@dataclass(frozen=True)
class Texts:
    """Texts of a header and the character set to write them in.

    Attributes:
        values: The texts by keyword; empty if the header has none.
        character_set: The terms of SpecificCharacterSet; empty for the default.
        warnings: What a reader should know, one line each, without quoting the patient's data.
    """

    values: Mapping[str, str]
    character_set: tuple[str, ...]
    warnings: tuple[str, ...]


def raw_text(header: Any, keyword: str) -> bytes | None:
    """Return the bytes of a text element without padding; None if it is missing or empty.

    Args:
        header: A pydicom data set that has not converted the element yet.
        keyword: Keyword of the element.

    Raises:
        ValueError: The element holds something else, such as a number or a sequence.
    """
    if keyword not in header:
        return None
    item = header.get_item(keyword)
    value = item.value
    if value is None:
        return None
    if not isinstance(value, bytes):  # pydicom has already converted it
        if item.VR not in _TEXT_VRS:
            raise ValueError(keyword)
        parts = (
            list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        )
        value = "\\".join(map(str, parts)).encode("latin-1", "replace")
    elif item.VR is not None and item.VR not in _TEXT_VRS:
        raise ValueError(keyword)
    return value.strip(b" \0") or None


def read_texts(header: Any, keywords: Sequence[str]) -> Texts:
    """Read text elements.

    A misspelled character set is corrected. If it is unknown, or the values are not in it, they are
    read as UTF-8 if possible and otherwise as Latin-1, with a warning. If none is declared, the
    bytes are kept, so that the result reads like the source.

    Args:
        header: A pydicom data set.
        keywords: Keywords of the elements.
    """
    raw: dict[str, bytes] = {}
    warnings = []
    for keyword in keywords:
        try:
            raw[keyword] = raw_text(header, keyword) or b""
        except ValueError:
            raw[keyword] = b""
            warnings.append(f"{keyword} of the series is not text; it is left empty")
    declared = _declared(header)
    foreign = any(not value.isascii() for value in raw.values())
    terms = tuple(term for term in map(_term, declared) if term is not None)
    if len(terms) > 1:
        terms = tuple(re.sub(r"^ISO_IR (?!192)", "ISO 2022 IR ", term) for term in terms)
    known = len(terms) == len(declared)
    encodings = _encodings(terms)
    values = {keyword: _decoded(keyword, value, encodings) for keyword, value in raw.items()}
    if any("\ufffd" in text for text in values.values()) or (foreign and not known and not terms):
        values, terms = _guessed(raw)
        what = (
            "has names outside the character set that it declares"
            if known
            else "declares an unknown character set"
        )
        how = "UTF-8" if terms == (UTF_8,) else "Latin-1"
        warnings.append(f"the series {what}: they were read as {how}, compare them with the source")
    elif foreign and _DEFAULT.issuperset(terms):
        warnings.append(
            "the series declares no character set, although its names need one: "
            "they were copied byte for byte"
        )
    return Texts(values, () if _DEFAULT.issuperset(terms) else terms, tuple(warnings))


def fitting_character_set(texts: Texts, more: Sequence[str]) -> tuple[str, ...]:
    """Choose the character set for these texts and more: the source's if it has all characters.

    Args:
        texts: Texts of the source.
        more: Other texts.

    Returns:
        The terms of SpecificCharacterSet: the source's, or UTF-8; empty for the default.
    """
    if all(text.isascii() for text in more) and not texts.character_set:
        return ()
    encodings = _encodings(texts.character_set)
    named = [*texts.values.items(), *(("", text) for text in more)]
    whole = all(_survives(keyword, text, encodings) for keyword, text in named)
    return texts.character_set if whole and texts.character_set else (UTF_8,)


def _declared(header: Any) -> list[str]:
    try:
        value = raw_text(header, "SpecificCharacterSet") or b""
    except ValueError:
        return ["unknown"]
    return [term.strip() for term in value.decode("ascii", "replace").split("\\")] if value else []


def _term(declared: str) -> str | None:
    """The defined term that a declared one means, or None."""
    charset = require("pydicom.charset", extra="dicom", why="reading DICOM")
    plain = " ".join(declared.upper().split())
    if plain in charset.python_encoding:
        return plain
    match = _SPELLING.fullmatch(plain)
    if match:
        term = f"ISO 2022 IR {int(match[2])}" if match[1] else f"ISO_IR {int(match[2])}"
        return term if term in charset.python_encoding else None
    return _OTHER_NAMES.get(re.sub(r"[ _.-]", "", plain))


def _encodings(terms: Sequence[str]) -> list[str]:
    charset = require("pydicom.charset", extra="dicom", why="reading DICOM")
    encodings = list(dict.fromkeys(charset.python_encoding[term] for term in terms)) or [
        charset.default_encoding
    ]
    for encoding in encodings:
        codecs.lookup(encoding)
    return encodings


def _guessed(raw: Mapping[str, bytes]) -> tuple[dict[str, str], tuple[str, ...]]:
    encoding, term = "utf-8", UTF_8
    try:
        for value in raw.values():
            value.decode(encoding)
    except UnicodeDecodeError:
        encoding, term = "latin-1", _LATIN_1
    values = {key: _CONTROL.sub("", value.decode(encoding)) for key, value in raw.items()}
    return values, (term,)


def _decoded(keyword: str, value: bytes, encodings: list[str]) -> str:
    pydicom = require("pydicom", extra="dicom", why="reading DICOM")
    try:
        if keyword in _PERSON:
            text = str(pydicom.valuerep.PersonName(value, encodings))
        else:
            delimiters = pydicom.valuerep.TEXT_VR_DELIMS
            text = str(pydicom.charset.decode_bytes(value, encodings, delimiters))
    except Exception:  # malformed escape sequences make the library raise anything
        return "\ufffd"
    if encodings == [pydicom.charset.default_encoding]:
        return text
    # pydicom leaves the escapes of Chinese (ISO 2022 IR 58) in the text
    return _CONTROL.sub("", _ESCAPE.sub("", text))


def _survives(keyword: str, text: str, encodings: list[str]) -> bool:
    """Whether a text that is written in these encodings is read back unchanged."""
    pydicom = require("pydicom", extra="dicom", why="reading DICOM")
    try:
        if keyword in _PERSON:
            value = pydicom.valuerep.PersonName(text).encode(encodings)
        else:
            value = pydicom.charset.encode_string(text, encodings)
    except Exception:  # what it cannot encode makes the library raise anything
        return False
    return _decoded(keyword, value, encodings) == text
