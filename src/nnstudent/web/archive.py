"""ZIP archives, checked before and while they are unpacked."""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from nnstudent.errors import InputError
from nnstudent.web.names import ARCHIVE, ending, is_clutter

_RATIO = (
    200  # unpacked to packed: CT that is mostly air is packed to a tenth, zeros to a thousandth
)
_SMALL = 10_000_000  # bytes up to which the ratio is of no matter
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_END, _LOCATOR = b"PK\x05\x06", b"PK\x06\x07"
_DIRECTORY_ENTRY = 1000  # bytes of the table of contents for one file; more is no table of contents
_CHUNK = 1 << 20
_DAMAGED = (  # what zipfile raises for bytes that mean nothing
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError, OverflowError,
)  # fmt: skip


def entries(path: Path, *, most_files: int, most_bytes: int) -> list[zipfile.ZipInfo]:
    """The files in an archive that are worth unpacking, all of it checked by what it says of itself.

    Args:
        path: The archive.
        most_files: The most that it may hold.
        most_bytes: The most that they may hold together.

    Raises:
        InputError: It is no ZIP archive, too large, packed too well to be true, encrypted, or holds links, absolute names, or archives.
    """
    _check_directory(path, most_files=most_files)
    try:
        with zipfile.ZipFile(path) as archive:
            listed = archive.infolist()
    except _DAMAGED as error:
        raise _damaged(error) from error
    if len(listed) > most_files:
        raise InputError(f"an archive of {len(listed)} files; expected at most {most_files}")
    wanted = []
    for item in listed:
        name = item.filename
        kind = stat.S_IFMT(item.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError("an archive with a link or a device in it; pack the files themselves")
        if (
            name.startswith(("/", "\\"))
            or re.match(r"[A-Za-z]:", name)
            or ".." in re.split(r"[/\\]", name)
        ):
            raise InputError(
                "an archive with a name that leads out of it; pack the files with relative names"
            )
        if item.is_dir() or is_clutter(name):
            continue
        if item.flag_bits & 0x1:
            raise InputError("an encrypted archive; pack the files without a password")
        if item.compress_type not in _METHODS:
            raise InputError("an archive packed in a rare way; expected plain ZIP (deflate)")
        if ending(name) == ARCHIVE:
            raise InputError("an archive in an archive; pack the files themselves")
        wanted.append(item)
    total = sum(item.file_size for item in wanted)
    packed = sum(item.compress_size for item in wanted)
    if total > most_bytes:
        raise InputError(
            f"an archive of {total / 1e9:.1f} GB; expected at most {most_bytes / 1e9:.1f} GB unpacked"
        )
    if packed > path.stat().st_size:
        raise InputError("an archive whose files lie over each other; pack it again")
    if total > _SMALL and total > _RATIO * max(packed, 1):
        raise InputError(
            f"an archive packed {total / max(packed, 1):.0f} to 1, which no scan is; send the files themselves"
        )
    return wanted


def unpack(path: Path, wanted: list[zipfile.ZipInfo], folder: Path) -> list[tuple[str, Path]]:
    """Unpack files under names of our own; more than an entry said is an error, so that what was checked holds.

    Args:
        path: The archive.
        wanted: Of :func:`entries`.
        folder: Where to.

    Returns:
        Name in the archive, and the file.

    Raises:
        InputError: It is damaged, or holds more than it said.
    """
    made = []
    with zipfile.ZipFile(path) as archive:
        for number, item in enumerate(wanted):
            target = folder / f"{number:05d}{ending(item.filename)}"
            with target.open("xb") as file:
                file.writelines(_pieces(archive, item))
            made.append((item.filename, target))
    return made


def _pieces(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> Iterator[bytes]:
    """What an entry holds; by itself, for an error of reading is the archive's, and one of writing is not."""
    left = item.file_size
    try:
        with archive.open(item) as packed:
            while chunk := packed.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise InputError("an archive that holds more than it says; pack it again")
                yield chunk
    except _DAMAGED as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> InputError:
    return InputError(f"a damaged ZIP archive ({type(error).__name__}); pack it again")


def _check_directory(path: Path, *, most_files: int) -> None:
    """Look at the end of the archive, before the table of contents that it tells of is read into memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 16) - 64))
        tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise InputError("no ZIP archive, or one that was cut off; send it again")
    files, length = (
        int.from_bytes(tail[at + 10 : at + 12], "little"),
        int.from_bytes(tail[at + 12 : at + 16], "little"),
    )
    if _LOCATOR in tail[max(0, at - 20) : at] or files == 0xFFFF or length == 0xFFFFFFFF:
        raise InputError(
            "an archive in the format for more than 4 GB (ZIP64); send the files themselves"
        )
    if files > most_files or length > most_files * _DIRECTORY_ENTRY:
        raise InputError(f"an archive of {files} files; expected at most {most_files}")
