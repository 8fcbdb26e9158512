"""Attacks on a service on loopback: malformed uploads and archives, raw HTTP, crowds, corrections
of a datastore, and C-STORE."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import socket
import stat
import struct
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx

from nnstudent import ServiceSettings
from tests.faults.damage import harm
from tests.faults.datastore import correct_all
from tests.faults.kills import Row
from tests.faults.outcome import CRASH, EXECUTED, HALF, HANG, INTERNAL, OK, REFUSED
from tests.web.conftest import answering, limited, taking_in, upload
from tests.web.raw import PART_END, PART_HEAD, UPLOAD_HEAD, Raw, many

_ODD = (b"\r\n", b"\0", b"%00", b": ", b"\r\n\r\n", b"chunked", b"[", b"HTTP/1.1", b"\xff", b"../")
_SHORT = {"request_seconds": 1.0, "stall_seconds": 2.5, "yield_seconds": 0.5}


def attack_all(sound: Path, scratch: Path, *, seed: int, count: int) -> Iterator[Row]:
    """So many uploads, requests and associations, and some crowds; what became of each."""
    folder = scratch / "service"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield from _uploads(sound, folder, random.Random(f"{seed} uploads"), count)
    settings = limited(ServiceSettings(folder / "raw"), **_SHORT)
    with answering(settings) as (_, address):
        yield from _requests(address, random.Random(f"{seed} requests"), count)
        yield from _crowds(address)
    (folder / "datastore").mkdir()
    yield from correct_all(folder / "datastore", random.Random(f"{seed} datastore"), count)
    yield from _c_store(folder, random.Random(f"{seed} c-store"), count // 5)


def _uploads(sound: Path, folder: Path, chance: random.Random, count: int) -> Iterator[Row]:
    """Files and archives that are almost what they should be; nothing may be left of what is
    refused, or lie elsewhere."""
    packed, slices = (sound / "ct.nii.gz").read_bytes(), sorted((sound / "series").iterdir())
    canary = folder / "canary"
    settings = limited(ServiceSettings(folder / "up"), upload_bytes=5_000_000, jobs=10**6)
    with taking_in(settings) as (service, client):
        sender = client(raise_server_exceptions=False)
        beside = set(folder.iterdir())
        for number in range(count):
            files = _files(chance, packed, [path.read_bytes() for path in slices[:3]], canary)
            answer = upload(sender, *files)
            error = answer.json().get("error", "") if answer.status_code >= 400 else ""
            left = list((settings.work / "jobs").iterdir())
            if answer.status_code >= 500 and answer.status_code not in (503, 507):
                yield "uploads", INTERNAL, f"{number}: status {answer.status_code}: {answer.text}"
            elif canary.exists() or set(folder.iterdir()) != beside:
                yield "uploads", EXECUTED, f"{number}: a file beside the service's folder"
            elif answer.status_code == 201:
                sender.delete(f"/api/jobs/{answer.json()['id']}")
                yield "uploads", OK, ""
            elif left or "\n" in error or not error:
                yield "uploads", HALF, f"{number}: {error!r} and {len(left)} folders left"
            else:
                yield "uploads", REFUSED, ""
        del service


def _files(
    chance: random.Random, packed: bytes, slices: list[bytes], canary: Path
) -> list[tuple[str, bytes]]:
    raw = gzip.decompress(packed)
    odd = chance.choice(
        ("ct.nii.gz", "../x.nii.gz", "a\nb.nii", "x" * 300 + ".nii.gz", ".nii.gz", "")
    )
    match chance.randrange(9):
        case 0:
            return [(odd or "x", harm(packed, chance))]
        case 1:
            return [("ct.nii.gz", gzip.compress(harm(raw, chance, within=352), 1))]
        case 2:
            return [(f"s/{k}.dcm", harm(data, chance)) for k, data in enumerate(slices)]
        case 3:
            return [("study.zip", harm(_zip([("s/1.dcm", slices[0]), ("ct.nii", raw)]), chance))]
        case 4:
            name = chance.choice(
                (f"../../{canary.name}", str(canary), "a/../../../x", "C:\\x", "\\\\x\\y", "x\0y")
            )
            return [("study.zip", _zip([(name, slices[0]), ("s/1.dcm", slices[0])]))]
        case 5:
            entry = zipfile.ZipInfo("link")
            entry.create_system = 3
            mode = chance.choice((stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR))
            entry.external_attr = (mode | 0o777) << 16
            return [("study.zip", _zip([(entry, str(canary).encode())]))]
        case 6:
            return [("bomb.zip", _zip([(f"{k}.dcm", bytes(3_000_000)) for k in range(4)]))]
        case 7:
            return [("bomb.nii.gz", gzip.compress(raw[:352] + bytes(20_000_000), 9))]
        case _:
            inner = _zip([("s/1.dcm", slices[0])])
            return [("study.zip", _zip([("inner.zip", inner)] * chance.choice((1, 2))))]


def _zip(files: list[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive, suppress(ValueError):
        for name, content in files:
            archive.writestr(name, content)
    return made.getvalue()


def _requests(address: str, chance: random.Random, count: int) -> Iterator[Row]:
    """Requests that are almost right, over plain sockets."""
    scan = gzip.compress(bytes(400))
    length = len(PART_HEAD + scan + PART_END)
    upload_one = (
        f"{UPLOAD_HEAD}Content-Length: {length}\r\n\r\n".encode() + PART_HEAD + scan + PART_END
    )
    host = "HTTP/1.1\r\nHost: localhost\r\n"
    whole = [
        upload_one,
        *(
            f"{line} {host}{more}\r\n".encode()
            for line, more in (
                ("GET /api/about", ""),
                ("HEAD /", ""),
                ("GET /api/jobs/../../etc/passwd", ""),
                ("GET /api/jobs/%2e%2e%2f%2e%2e", ""),
                ("DELETE /api/jobs/x", "Origin: http://[\r\n"),
                (
                    "POST /api/session",
                    'Content-Length: 13\r\nContent-Type: application/json\r\n\r\n{"token":"a"}',
                ),
                ("POST /api/jobs", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
                ("GET /api/about", "Range: bytes=" + ",".join(["0-"] * 500) + "\r\n"),
                ("GET /api/about", "Authorization: Bearer \xff\r\nCookie: a=b; a=c\r\n"),
            )
        ),
    ]
    for number in range(count):
        sent = bytearray(chance.choice(whole))
        for _ in range(chance.randrange(0, 5)):
            at = chance.randrange(len(sent) or 1)
            sent[at : at + chance.choice((0, 0, 1, 9))] = chance.choice(
                (*_ODD, chance.randbytes(5))
            )
        one = Raw(address)
        try:
            one.send(bytes(sent))
            one.socket.shutdown(socket.SHUT_WR)
            status = one.answer(seconds=20).status
        except TimeoutError:
            yield "requests", HANG, f"{number}: no answer in 20 s to {bytes(sent[:80])!r}"
            continue
        except (OSError, ValueError) as error:
            yield (
                ("requests", REFUSED, "")
                if isinstance(error, OSError)
                else ("requests", CRASH, f"{number}: {error}")
            )
            continue
        finally:
            one.close()
        if status in (500, 502, 504):
            yield "requests", INTERNAL, f"{number}: status {status} to {bytes(sent[:80])!r}"
        else:
            yield "requests", OK if 200 <= status < 300 else REFUSED, ""


def _crowds(address: str) -> Iterator[Row]:
    """Many that hold connections or uploads and send nothing; somebody else is answered all the
    same."""
    slow = UPLOAD_HEAD + "Content-Length: 100000\r\n\r\n"
    for kind, crowd, words in (
        ("half-open connections", 230, ""),
        ("slow headers", 150, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "),
        ("stalled uploads", 40, slow),
    ):
        with many(address, crowd) as connections:
            for one in connections:
                with suppress(OSError):
                    one.send(words)
            began = time.monotonic()
            try:
                status = httpx.get(f"{address}/api/about", timeout=30).status_code
            except httpx.HTTPError as error:
                yield f"{crowd} {kind}", HANG, f"somebody else is not answered: {error}"
                continue
            seconds = time.monotonic() - began
            bad = status != 200 or seconds > 20
            yield f"{crowd} {kind}", HANG if bad else OK, f"status {status} after {seconds:.1f} s"


def _c_store(folder: Path, chance: random.Random, count: int) -> Iterator[Row]:
    """Bytes that are almost an association, and data sets that are almost CT; a C-ECHO works
    afterwards."""
    from tests.web.pacs.test_listener import FAST, LIMITS, Jobs, Receiver, request, works

    jobs = Jobs(folder / "received", LIMITS)
    receiver = Receiver(
        jobs, LIMITS, listen=("127.0.0.1", 0), title="NNSTUDENT", quiet_seconds=0.3, listening=FAST
    )  # fmt: skip
    receiver.start()
    try:
        whole = (
            request()
            + b"\x04\0\0\0\0\x10\0\0\0\x0c\x01\x03"
            + bytes(10)
            + b"\x05\0\0\0\0\x04\0\0\0\0"
        )
        for number in range(count):
            sent = (
                harm(whole, chance) if number % 5 else struct.pack(">BBI", number % 9, 0, 2**32 - 1)
            )
            with (
                suppress(OSError),
                socket.create_connection(("127.0.0.1", receiver.port), timeout=5) as one,
            ):
                one.sendall(sent)
                one.shutdown(socket.SHUT_WR)
            if number % 25 == 24:
                time.sleep(
                    1.5
                )  # its connections are bounded, and slow ones are ended after a second
                yield (
                    "C-STORE",
                    *((OK, "") if works(receiver) else (HANG, f"after {number} C-ECHO fails")),
                )
            else:
                yield "C-STORE", REFUSED, ""
    finally:
        receiver.stop()
