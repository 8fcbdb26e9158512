"""ZIP archives: checked before and while they are unpacked."""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from nnstudent.errors import InputError

# Largest ratio of unpacked to packed size: CT that is mostly air shrinks to a tenth, zeros to a
# thousandth.
_RATIO = 200
_SMALL = 10_000_000  # bytes below which the ratio does not matter
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENDING = ".zip"
_END, _LOCATOR = b"PK\x05\x06", b"PK\x06\x07"
_DIRECTORY_ENTRY = 1000  # most bytes of the central directory for one file
_CHUNK = 1 << 20
_DAMAGED = (  # raised by zipfile for damaged archives
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


def checked_entries(path: Path, *, most_files: int, most_bytes: int) -> list[zipfile.ZipInfo]:
    """Check an archive by its own directory and return the entries to unpack.

    Args:
        path: The archive.
        most_files: Largest number of files.
        most_bytes: Largest size of all files together, unpacked.

    Raises:
        InputError: It is not a ZIP archive, too large, suspiciously well packed, or encrypted, or
            it contains links, names that lead out of it, or archives.
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
            raise InputError(
                "an archive that contains a link or a device; pack the files themselves"
            )
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
            raise InputError("an archive with an unusual compression; expected plain ZIP (deflate)")
        if name.lower().endswith(ENDING):
            raise InputError("an archive in an archive; pack the files themselves")
        wanted.append(item)
    total = sum(item.file_size for item in wanted)
    packed = sum(item.compress_size for item in wanted)
    if total > most_bytes:
        raise InputError(
            f"an archive of {total / 1e9:.1f} GB unpacked; "
            f"expected at most {most_bytes / 1e9:.1f} GB"
        )
    if packed > path.stat().st_size:
        raise InputError("an archive with overlapping files; pack it again")
    if total > _SMALL and total > _RATIO * max(packed, 1):
        raise InputError(
            f"an archive packed {total / max(packed, 1):.0f} to 1, unlike any scan or model; "
            "send the files themselves"
        )
    return wanted


def unpack(
    path: Path,
    wanted: list[zipfile.ZipInfo],
    folder: Path,
    *,
    disk_name: Callable[[int, str], str],
) -> list[tuple[str, Path]]:
    """Unpack files under names of our own.

    An entry that is larger than it claims is an error, so that the earlier checks hold.

    Args:
        path: The archive.
        wanted: Its entries, from :func:`checked_entries`.
        folder: Folder to write to.
        disk_name: From the number of an entry and its name in the archive, the name below
            ``folder``. An archive's own name must never become a path.

    Returns:
        For each file, its name in the archive and its path.

    Raises:
        InputError: It is damaged, or an entry is larger than it claims.
    """
    made = []
    with zipfile.ZipFile(path) as archive:
        for number, item in enumerate(wanted):
            target = folder / disk_name(number, item.filename)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                file.writelines(_pieces(archive, item))
            made.append((item.filename, target))
    return made


def is_clutter(name: str) -> bool:
    """Return whether an operating system added the file: hidden, thumbnails, resource forks."""
    parts = re.split(r"[/\\]", name)
    return (
        "__MACOSX" in parts
        or parts[-1].startswith(".")
        or parts[-1].lower() in ("", "thumbs.db", "desktop.ini")
    )


def _pieces(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the content of an entry.

    A function of its own, so that only errors of reading are taken for a damaged archive.
    """
    left = item.file_size
    try:
        with archive.open(item) as packed:
            while chunk := packed.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise InputError(
                        "an archive with an entry that is larger than it claims; pack it again"
                    )
                yield chunk
    except _DAMAGED as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> InputError:
    return InputError(f"a damaged ZIP archive ({type(error).__name__}); pack it again")


def _check_directory(path: Path, *, most_files: int) -> None:
    """Check the end of the archive before its central directory is read into memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 16) - 64))
        tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise InputError("not a ZIP archive, or an incomplete one; send it again")
    files = int.from_bytes(tail[at + 10 : at + 12], "little")
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    if _LOCATOR in tail[max(0, at - 20) : at] or files == 0xFFFF or length == 0xFFFFFFFF:
        raise InputError(
            "an archive in the format for more than 4 GB (ZIP64); send the files themselves"
        )
    if files > most_files or length > most_files * _DIRECTORY_ENTRY:
        raise InputError(f"an archive of {files} files; expected at most {most_files}")
