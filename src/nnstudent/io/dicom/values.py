"""Reads elements of a DICOM data set as checked numbers and words."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnstudent.errors import InputError
from nnstudent.types import Float64Array

_WRITTEN = ("CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI")  # stored as text in the file
_LONGEST = 1024  # characters of a word that are kept


class Values:
    """The elements of one data set.

    An element that is missing or empty is None. An element of another type than was asked for is an
    error that names the file and the element, but does not quote the value, which may identify the
    patient.
    """

    def __init__(self, dataset: Any, where: str) -> None:
        """Wrap a pydicom data set; ``where`` names its file in errors."""
        self._dataset, self._where = dataset, where

    def __contains__(self, tag: str) -> bool:
        return tag in self._dataset

    def text(self, tag: str) -> str:
        """Return the words of an element, joined by a backslash as in the file."""
        return "\\".join(self.texts(tag))

    def texts(self, tag: str) -> tuple[str, ...]:
        """Return each word of an element; none if it is missing or empty."""
        value = self._raw(tag)
        if value is None:
            return ()
        try:
            single = isinstance(value, (str, bytes)) or not hasattr(value, "__iter__")
            words = tuple(_word(item) for item in ([value] if single else value))
            return words if any(words) else ()
        except Exception as error:
            raise self.wrong(tag, "words") from error

    def trait(self, tag: str) -> str:
        """Return the words of an element that nothing depends on; ``?`` if it is malformed."""
        try:
            if tag not in self._dataset:
                return ""
            raw = self._dataset.get_item(tag)
            # Conversion takes most of the time, so bytes are taken as they are in the file.
            if isinstance(raw.value, bytes) and raw.VR in _WRITTEN:
                return "\\".join(_word(word) for word in raw.value.split(b"\\"))
            return self.text(tag)
        except Exception:  # a malformed value makes the library raise anything
            return "?"

    def numbers(self, tag: str, count: int | None = None) -> Float64Array | None:
        """Return the numbers of an element; None if it is missing or empty.

        Raises:
            InputError: They are not ``count`` finite numbers.
        """
        value = self._raw(tag)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        try:
            if isinstance(value, (bytes, str)):
                value = [float(value)]
            numbers = np.atleast_1d(np.array(value, np.float64)).ravel()
        except Exception as error:  # a value of another type raises anything when converted
            raise self.wrong(tag, _numbers(count)) from error
        if not numbers.size:
            return None
        if (count is not None and numbers.size != count) or not np.isfinite(numbers).all():
            raise self.wrong(tag, _numbers(count))
        return numbers

    def number(self, tag: str, *, least: float = -np.inf, most: float = np.inf) -> float | None:
        """Return the one number of an element; None if it is missing or empty.

        Raises:
            InputError: It is not one finite number from ``least`` to ``most``.
        """
        numbers = self.numbers(tag, 1)
        if numbers is None:
            return None
        number = float(numbers[0])
        if not least <= number <= most:
            raise InputError(
                f"{self._where}: {tag} is {number:g}; expected a number from {least:g} to {most:g}"
            )
        return number

    def integer(self, tag: str, *, least: int, most: int) -> int | None:
        """Return the one whole number of an element; None if it is missing or empty.

        Raises:
            InputError: It is not one whole number from ``least`` to ``most``.
        """
        number = self.number(tag, least=least, most=most)
        if number is None:
            return None
        if number != int(number):
            raise self.wrong(tag, "a whole number")
        return int(number)

    def items(self, tag: str) -> list[Values]:
        """Return the items of a sequence; none if it is missing.

        Raises:
            InputError: The element is not a sequence.
        """
        value = self._raw(tag)
        if value is None:
            return []
        try:
            items = list(value)
        except Exception as error:
            raise self.wrong(tag, "a sequence") from error
        if not all(hasattr(item, "group_dataset") for item in items):
            raise self.wrong(tag, "a sequence")
        return [Values(item, self._where) for item in items]

    def _raw(self, tag: str) -> Any:
        try:
            return self._dataset.get(tag)
        except RecursionError as error:
            raise self.wrong(tag, "sequences that are not nested endlessly") from error
        except Exception as error:  # a malformed value makes the library raise anything
            raise self.wrong(tag, "a value of the type that DICOM prescribes") from error

    def wrong(self, tag: str, expected: str, *, state: str = "malformed") -> InputError:
        """Return the error for an element: its state and what was expected instead."""
        return InputError(
            f"{self._where}: {tag} is {state}; expected {expected}, "
            "copy the series again or correct the file"
        )


def _word(item: Any) -> str:
    word = item.decode("ascii", "replace") if isinstance(item, bytes) else str(item)
    return " ".join(word.replace("\0", " ").split())[:_LONGEST]


def _numbers(count: int | None) -> str:
    return "numbers" if count is None else "one number" if count == 1 else f"{count} numbers"
