"""Elements of a DICOM data set as numbers and words, each checked when it is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError

Floats = npt.NDArray[np.float64]

_WRITTEN = (
    "CS",
    "DA",
    "DS",
    "DT",
    "IS",
    "LO",
    "SH",
    "TM",
    "UI",
)  # types whose values are text in the file
_LONGEST = 1024  # characters of a word that is looked at


class Values:
    """The elements of one data set.

    An element that is missing or empty is None; one that holds something else than was asked for is an error that names the file and
    the element, and does not quote the value, which may tell who the patient is.
    """

    def __init__(self, dataset: Any, where: str) -> None:
        """Look at a pydicom data set; ``where`` is the file, or another name, for errors."""
        self._dataset, self._where = dataset, where

    def __contains__(self, tag: str) -> bool:
        return tag in self._dataset

    def text(self, tag: str) -> str:
        """The words of an element, joined by a backslash as in the file; empty where it is missing."""
        return "\\".join(self.texts(tag))

    def texts(self, tag: str) -> tuple[str, ...]:
        """Each word of an element."""
        value = self._raw(tag)
        try:
            items = (
                []
                if value is None
                else [value]
                if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__")
                else list(value)
            )
            return (
                tuple(_word(item) for item in items) if any(_word(item) for item in items) else ()
            )
        except Exception as error:
            raise self.wrong(tag, "words") from error

    def trait(self, tag: str) -> str:
        """The words of an element that nothing depends on; a question mark where it is malformed."""
        try:
            if tag not in self._dataset:
                return ""
            raw = self._dataset.get_item(tag)
            if (
                isinstance(raw.value, bytes) and raw.VR in _WRITTEN
            ):  # as it is in the file: conversion takes most of the time
                return "\\".join(_word(word) for word in raw.value.split(b"\\"))
            return self.text(tag)
        except Exception:  # whatever a malformed value does to the library
            return "?"

    def numbers(self, tag: str, count: int | None = None) -> Floats | None:
        """The numbers of an element.

        Raises:
            InputError: They are no finite numbers, or not ``count``.
        """
        value = self._raw(tag)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        try:
            if isinstance(value, (bytes, str)):
                value = [float(value)]
            numbers = np.atleast_1d(np.array(value, np.float64)).ravel()
        except Exception as error:  # whatever a value of another type does when it is converted
            raise self.wrong(tag, _numbers(count)) from error
        if not numbers.size:
            return None
        if (count is not None and numbers.size != count) or not np.isfinite(numbers).all():
            raise self.wrong(tag, _numbers(count))
        return numbers

    def number(self, tag: str, *, least: float = -np.inf, most: float = np.inf) -> float | None:
        """The one number of an element.

        Raises:
            InputError: It is no finite number from ``least`` to ``most``, or more than one.
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
        """The one whole number of an element.

        Raises:
            InputError: It is no whole number from ``least`` to ``most``, or more than one.
        """
        number = self.number(tag, least=least, most=most)
        if number is None:
            return None
        if number != int(number):
            raise self.wrong(tag, "a whole number")
        return int(number)

    def items(self, tag: str) -> list[Values]:
        """The items of a sequence; none where it is missing.

        Raises:
            InputError: It is no sequence.
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
            raise self.wrong(tag, "sequences that are not nested without end") from error
        except Exception as error:  # whatever a malformed value does to the library
            raise self.wrong(tag, "a value of the type that DICOM lays down") from error

    def wrong(self, tag: str, expected: str, *, state: str = "malformed") -> InputError:
        """The error of an element: what it is and what was expected instead."""
        return InputError(
            f"{self._where}: {tag} is {state}; expected {expected}, copy the series again or mend the file"
        )


def _word(item: Any) -> str:
    word = item.decode("ascii", "replace") if isinstance(item, bytes) else str(item)
    return " ".join(word.replace("\0", " ").split())[:_LONGEST]


def _numbers(count: int | None) -> str:
    return "numbers" if count is None else "one number" if count == 1 else f"{count} numbers"
