"""Parts of a verb's cases, for several machines: which cases, and which parts have ended.

The I-th of N parts are the cases I, I + N, I + 2 N, … of all. A part that has ended leaves a record
in the hidden folder ``.parts`` of the output, from which the parts are merged. It is written last
and removed when the part begins again, so that a part that died has none.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError
from nnstudent.io.atomic import write_json
from nnstudent.io.record import data_hash
from nnstudent.serialization import Record

FOLDER = ".parts"
_NAME = re.compile(r"(\d+)-of-(\d+)\.json")
T = TypeVar("T")


@dataclass(frozen=True, order=True)
class Part:
    """One of several parts of the cases.

    Attributes:
        number: From 1.
        count: Number of parts.

    Raises:
        InputError: There is no such part.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise InputError(f"--part {self}: expected I/N with 1 ≤ I ≤ N, such as 2/8")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """Its name in files and jobs, such as ``2-of-8``."""
        return f"{self.number}-of-{self.count}"

    @property
    def share(self) -> str:
        """What :func:`nnstudent.io.lock.writing` calls it; empty if it is everything."""
        return "" if self == WHOLE else f"{self.number} of {self.count}"

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Return the items of this part."""
        return items[self.number - 1 :: self.count]


WHOLE = Part()


def parse_part(text: str) -> Part:
    """Parse ``I/N``.

    Raises:
        InputError: The text does not have that form, or there is no such part.
    """
    number, slash, count = text.partition("/")
    if not slash or not all(re.fullmatch(r"[0-9]{1,9}", word) for word in (number, count)):
        raise InputError(f"--part {text}: expected I/N, such as 2/8")
    return Part(int(number), int(count))


def parts(count: int) -> tuple[Part, ...]:
    """Return all parts of so many."""
    return tuple(Part(number, count) for number in range(1, count + 1))


def interleaved(shares: Sequence[Sequence[T]]) -> list[T]:
    """Return the items of all parts in the order in which they were before :meth:`Part.of`."""
    longest = max(map(len, shares), default=0)
    return [share[place] for place in range(longest) for share in shares if place < len(share)]


def begin_part(folder: Path, part: Part) -> None:
    """Forget that a part has ended before."""
    _path(folder, part).unlink(missing_ok=True)


def end_part(folder: Path, part: Part, *, settings: Any, data: Mapping[str, Any]) -> None:
    """Record that a part has ended.

    Args:
        folder: The output that the parts share.
        part: The part.
        settings: Plain data that has to be the same for all parts.
        data: What merging needs, as plain data.

    Raises:
        OutputError: It cannot be written.
    """
    write_json(_path(folder, part), {"settings": data_hash(settings), **data})


def read_parts(folder: Path, count: int, *, settings: Any, again: str) -> list[Record]:
    """Read the records of all parts, in order.

    Args:
        folder: The output that the parts share.
        count: Number of parts.
        settings: The settings of this call; see :func:`end_part`.
        again: The command that makes a part, without ``--part``, for the error.

    Raises:
        InputError: A part has not ended, was run with other settings, or its record is damaged.
    """
    all_parts = parts(count)
    missing = [part for part in all_parts if not _path(folder, part).is_file()]
    if missing:
        raise InputError(f"{folder}: {missing_text(missing)}; run: {again} --part {missing[0]}")
    found = []
    for part in all_parts:
        path = _path(folder, part)
        record = Record(read_json_table(path, what="the record of a part"), str(path))
        if record.get("settings", str) != data_hash(settings):
            raise InputError(
                f"{folder}: part {part} was run with other options or on other cases; run it "
                f"again: {again} --part {part}"
            )
        found.append(record)
    return found


def unfinished(folder: Path) -> tuple[Part, ...]:
    """Return the parts that have not ended; none if no call was for a part, or all have ended.

    If there were several numbers of parts, one that is complete is enough.
    """
    ended: dict[int, set[int]] = {}
    for path in (folder / FOLDER).glob("*.json"):
        if match := _NAME.fullmatch(path.name):
            ended.setdefault(int(match[2]), set()).add(int(match[1]))
    left = [
        tuple(part for part in parts(count) if part.number not in numbers)
        for count, numbers in sorted(ended.items())
    ]
    return min(left, key=len, default=())


def missing_text(missing: Sequence[Part]) -> str:
    """Return a sentence that names the parts that have not ended."""
    named = ", ".join(map(str, missing[:10])) + (" …" if len(missing) > 10 else "")
    word, verb = ("part", "has") if len(missing) == 1 else ("parts", "have")
    return f"{word} {named} {verb} not ended"


def forget_parts(folder: Path) -> None:
    """Remove the records of all parts: everything has been done without them."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _path(folder: Path, part: Part) -> Path:
    return folder / FOLDER / f"{part.name}.json"
