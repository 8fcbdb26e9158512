"""Slow, rude and malformed clients over plain sockets: everybody else is served."""

from __future__ import annotations

import gzip
import random
import time
from dataclasses import replace

import httpx2 as httpx
import pytest

from nnstudent.web.server import ConnectionGate
from nnstudent.web.settings import Limits, Settings
from tests.web.conftest import answering, limited
from tests.web.raw import PART_END, PART_HEAD, UPLOAD_HEAD, Raw, many

TOKEN = "a-token-of-good-length"
SHORT = {"request_seconds": 1.0, "stall_seconds": 2.5, "yield_seconds": 0.5}
GET = "GET /api/about HTTP/1.1\r\nHost: localhost\r\n\r\n"
SCAN = gzip.compress(bytes(400))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with answering(limited(Settings(tmp_path_factory.mktemp("raw") / "work"), **SHORT)) as (
        service,
        address,
    ):
        yield service, address


@pytest.fixture
def address(served):
    return served[1]


def works(address: str, **headers: str) -> bool:
    """Whether somebody else is answered, at once and over a connection of their own."""
    began = time.monotonic()
    answer = httpx.get(f"{address}/api/about", headers=headers, timeout=5)
    return answer.status_code == 200 and time.monotonic() - began < 3


def can_send(address: str, **headers: str) -> int:
    return httpx.post(
        f"{address}/api/jobs", files={"files": ("ct.nii.gz", SCAN)}, headers=headers, timeout=20
    ).status_code


def test_half_open_connections_lock_nobody_out(address):
    with many(address, 230) as idle:
        for one in idle[::2]:
            one.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert works(address)
        assert all(one.is_closed(within=4) for one in idle), "and they do not stay"


def test_slow_headers_are_cut_off(address):
    one = Raw(address)
    began = time.monotonic()
    try:
        for _ in range(100):
            one.send("X")
            time.sleep(0.1)
    except OSError:
        pass
    assert time.monotonic() - began < 5
    one = Raw(address)
    one.send("GET / HTTP/1.1\r\nHost: localhost\r\n")
    answer = one.answer()
    assert (answer.status, answer.error) == (408, "the request did not arrive within 1 s")
    assert one.is_closed(within=2)


def test_stalled_bodies_lock_nobody_out(address):
    with many(address, 230) as slow:
        for one in slow:
            one.send(
                "POST /api/session HTTP/1.1\r\nHost: localhost\r\n"
                "Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
            )
        assert works(address)
        assert all(one.is_closed(within=5) for one in slow)


def test_a_stalled_short_body_is_answered(address):
    one = Raw(address)
    one.send("POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
    assert one.answer().status == 408


def test_stalled_uploads_give_way_to_one_that_goes_well(served):
    service, address = served
    with many(address, 8) as stalled:
        for one in stalled:
            one.send(UPLOAD_HEAD + "Content-Length: 1000000\r\n\r\n")
            one.send(PART_HEAD + b"\x1f\x8b")
        time.sleep(0.3)
        began = time.monotonic()
        assert can_send(address) == 201
        assert time.monotonic() - began < 4
        answers = [one.answer() for one in stalled]
        assert {answer.status for answer in answers} == {408}
        assert "stalled" in answers[0].error
    assert sum(path.is_dir() for path in (service.settings.work / "jobs").iterdir()) == len(
        service.jobs
    ), "nothing stays behind"


def test_an_upload_that_drips_is_cut_off(address):
    one = Raw(address)
    one.send(UPLOAD_HEAD + "Content-Length: 1000000\r\n\r\n")
    one.send(PART_HEAD)
    began = time.monotonic()
    try:
        while time.monotonic() - began < 8:
            one.send(b"x")
            time.sleep(0.05)
    except OSError:
        pass
    assert 2 < time.monotonic() - began < 6


def test_a_slow_but_steady_upload_is_taken(served):
    one = Raw(served[1])
    body = PART_HEAD + SCAN + bytes(100_000) + PART_END
    one.send(UPLOAD_HEAD + f"Content-Length: {len(body)}\r\n\r\n")
    for at in range(0, len(body), 5000):
        one.send(body[at : at + 5000])
        time.sleep(0.15)  # 33 kB/s over 3 s, longer than a stall may be
    assert one.answer().status == 201


def test_who_does_not_read_is_cut_off(served, tmp_path):
    service, address = served
    with service.jobs.draft(reserve=0) as draft:
        (draft.input / "0.nii").write_bytes(b"x")
        job = service.jobs.add(draft, owner="x", name="x", kind="image")
    service.jobs.take_next(timeout=0)
    (job.output / "image.nii.gz").write_bytes(bytes(30_000_000))
    service.jobs.finish(job, files=["image.nii.gz"])
    with httpx.Client(base_url=address) as client:
        client.get("/")
        (name,) = client.cookies
        job.owner = service.sessions.owner_of_cookie(client.cookies[name])
        one = Raw(address)
        one.send(
            f"GET /api/jobs/{job.id}/files/image.nii.gz HTTP/1.1\r\nHost: localhost\r\n"
            f"Cookie: {name}={client.cookies[name]}\r\n\r\n"
        )
        time.sleep(SHORT["stall_seconds"] + 1.5)
        read = 0
        try:
            while piece := one.socket.recv(1 << 20):
                read += len(piece)
        except OSError:
            pass
        assert 0 < read < 30_000_000
        answer = client.head(f"/api/jobs/{job.id}/files/image.nii.gz")
        assert (answer.headers["content-length"], answer.content) == ("30000000", b"")
        many_ranges = "bytes=" + "0-1," * 3000 + "0-1"
        for asked, codes in (
            ("bytes=0-9", {206}),
            ("bytes=x", {400}),
            ("bytes=99999999999-", {416}),
            (many_ranges, {200, 206}),
        ):
            answer = client.get(f"/api/jobs/{job.id}/files/image.nii.gz", headers={"Range": asked})
            assert answer.status_code in codes
    service.jobs.remove(job)


def test_the_token_is_asked_for_before_a_body_is_read(tmp_path):
    with answering(replace(limited(Settings(tmp_path / "work"), **SHORT), token=TOKEN)) as (
        _,
        address,
    ):
        with many(address, 40) as strangers:
            for one in strangers:
                one.send(UPLOAD_HEAD + "Content-Length: 1000000\r\n\r\n")
            assert {one.answer().status for one in strangers} == {401}
            assert works(address, Authorization=f"Bearer {TOKEN}")
            assert can_send(address, Authorization=f"Bearer {TOKEN}") == 201
            for one in strangers:  # who goes on sending after the answer
                one.send(b"x")
            assert all(one.is_closed(within=8) for one in strangers)
        one = Raw(address)
        one.send(f"{UPLOAD_HEAD}Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
        assert one.answer().status == 401, "nobody is told to go on"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + "a" * 100_000 + "\r\n\r\n", 400),
        ("GET /" + "a" * 100_000 + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\n"
            + "".join(f"X{n}: y\r\n" for n in range(5000))
            + "\r\n",
            431,
        ),
        ("GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET /%00%ff%zz%2e%2e/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /api/jobs/%00/files/%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", 422),
        ("GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        ("CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 505),
        ("GET /\r\n\r\n", 400),
        (
            "POST /api/jobs HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            400,
        ),
        (
            UPLOAD_HEAD
            + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
            400,
        ),
        (
            "POST /api/jobs HTTP/1.1\r\nHost: localhost\r\n"
            "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            501,
        ),
        ("POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 400),
        (
            "POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
            + "9" * 5000
            + "\r\n\r\n",
            400,
        ),
        (UPLOAD_HEAD + "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", 400),
        (UPLOAD_HEAD + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffff\r\n", 400),
    ],
)
def test_what_is_no_request_is_answered_and_ends(address, sent, status):
    one = Raw(address)
    one.send(sent)
    answer = one.answer()
    if not answer.raw and len(sent) > 50_000:
        return  # it was ended while more was still coming
    assert answer.status in (status, 400, 405, 431), answer.raw[:300]
    assert "\n" not in answer.error
    assert b"HTTP/1.1 200" not in answer.raw, "what follows is no request of its own"
    assert works(address)


def test_requests_in_one_piece_are_answered_in_turn(address):
    one = Raw(address)
    one.send(GET * 50)
    read = b""
    while read.count(b"HTTP/1.1 200 OK") < 50:
        read += one.socket.recv(65536)
    assert works(address)


def test_whatever_is_sent_the_service_goes_on(served):
    """Seeded requests that are almost valid: each is answered or closed, without internal error."""
    service, address = served
    dice = random.Random(20)
    whole = [
        GET,
        UPLOAD_HEAD
        + f"Content-Length: {len(PART_HEAD + SCAN + PART_END)}\r\n\r\n"
        + (PART_HEAD + SCAN + PART_END).decode("latin-1"),
        UPLOAD_HEAD + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        'Content-Length: 13\r\n\r\n{"token":"a"}',
        "DELETE /api/jobs/x HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n",
    ]
    for _ in range(150):
        sent = bytearray(dice.choice(whole).encode("latin-1"))
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(sent))
            how = dice.randrange(4)
            if how == 0:
                sent[at] = dice.randrange(256)
            elif how == 1:
                del sent[at : at + dice.randrange(1, 20)]
            elif how == 2:
                sent[at:at] = dice.randbytes(dice.randrange(1, 20))
            else:
                sent[at:at] = dice.choice(
                    [b"\r\n", b"\0", b"%00", b": ", b"\r\n\r\n", b"chunked", b"[", b"HTTP/1.1"]
                )
            if not sent:
                break
        one = Raw(address)
        one.send(bytes(sent))
        one.socket.shutdown(1)
        answer = one.answer(seconds=8)
        assert answer.status in (0, *range(200, 500), 501, 503, 505), (bytes(sent), answer.raw)
        one.close()
    assert works(address)
    for job in service.jobs.all():
        service.jobs.remove(job)


class One:
    """A connection, to the gate."""

    def __init__(self, useful: bool) -> None:
        self.is_idle, self.is_busy, self.gone = not useful, useful, False
        self.transport = self

    def abort(self) -> None:
        self.gone = True


def test_other_addresses_have_their_own_limit():
    gate = ConnectionGate(Limits(client_connections=3))
    busy, idle = [One(True) for _ in range(2)], One(False)
    assert all(gate.enter(one, "10.0.0.1") for one in (*busy, idle))
    assert gate.enter(One(True), "10.0.0.1")
    assert idle.gone
    assert not gate.enter(One(True), "10.0.0.1"), "three that are useful"
    assert gate.enter(One(True), "10.0.0.2"), "somebody else"
    assert all(gate.enter(One(True), "::1") for _ in range(5)), "behind this machine may be a proxy"
    gate.leave(busy[0])
    assert gate.enter(One(True), "10.0.0.1")


def test_where_all_places_are_taken_the_crowd_gives_way():
    gate = ConnectionGate(Limits(connections=4))
    lonely, crowd = One(False), [One(False) for _ in range(3)]
    gate.enter(lonely, "10.0.0.2")
    for one in crowd:
        gate.enter(one, "10.0.0.1")
    assert gate.enter(One(True), "10.0.0.3")
    assert [one.gone for one in (lonely, *crowd)] == [False, True, False, False]
