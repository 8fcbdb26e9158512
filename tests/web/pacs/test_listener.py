"""Slow, rude and malformed senders over plain sockets: everybody else is served."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from contextlib import ExitStack, suppress

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")

import psutil
import pydicom
import pynetdicom
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.pdu_primitives import A_ASSOCIATE

from nnstudent.web.jobs import Jobs
from nnstudent.web.pacs.receive import Receiver
from nnstudent.web.settings import Limits, ListenLimits
from tests.io.series import CT, Series

LIMITS = Limits(files=20, upload_bytes=100_000, uploads=3)
FAST = ListenLimits(connections=6, pdu_seconds=1.0, idle_seconds=0.5)


pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def receiver(tmp_path):
    made = Receiver(
        Jobs(tmp_path / "jobs", LIMITS),
        LIMITS,
        listen=("127.0.0.1", 0),
        title="NNSTUDENT",
        quiet_seconds=0.3,
        listening=FAST,
    )
    made.start()
    yield made
    made.stop()


def works(receiver) -> bool:
    entity = pynetdicom.AE(ae_title="SCANNER")
    entity.acse_timeout = entity.connection_timeout = 5
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", receiver.port, ae_title="NNSTUDENT")
    try:
        return bool(association.is_established and association.send_c_echo().Status == 0)
    finally:
        association.release()


def dial(receiver) -> socket.socket:
    return socket.create_connection(("127.0.0.1", receiver.port), timeout=5)


def ended(one: socket.socket, *, within: float) -> bool:
    one.settimeout(within)
    try:
        while one.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def request() -> bytes:
    """An A-ASSOCIATE-RQ as the library makes it."""
    entity = pynetdicom.AE(ae_title="SCANNER")
    entity.add_requested_context(CT, ExplicitVRLittleEndian)
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "SCANNER", "NNSTUDENT"
    primitive.presentation_context_definition_list = entity.requested_contexts
    for number, context in enumerate(entity.requested_contexts):
        context.context_id = 2 * number + 1
    length = pynetdicom.pdu_primitives.MaximumLengthNotification()
    length.maximum_length_received = 16384
    implementation = pynetdicom.pdu_primitives.ImplementationClassUIDNotification()
    implementation.implementation_class_uid = pydicom.uid.UID("1.2.3")
    primitive.user_information = [length, implementation]
    pdu = pynetdicom.pdu.A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


HALF = {
    "nothing": b"",
    "half a header": b"\x01\x00\x00",
    "half a PDU": b"\x01\x00\x00\x00\x00\xff\x00\x01",
}


@pytest.mark.parametrize("sent", HALF.values(), ids=HALF)
def test_half_open_connections_lock_nobody_out(receiver, sent):
    with ExitStack() as stack:
        idle = [stack.enter_context(dial(receiver)) for _ in range(12)]
        for one in idle:
            with suppress(OSError):  # the first ones had to go
                one.sendall(sent)
        assert works(receiver)
        assert all(ended(one, within=6) for one in idle), "and they do not stay"
    assert works(receiver)


def test_a_pdu_that_drips_is_ended(receiver):
    with dial(receiver) as one:
        one.sendall(b"\x01\x00\x00\x00\x00\xff")
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < 8:
                one.sendall(b"\0")
                time.sleep(0.05)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", [1, 4, 2, 7, 9])
def test_a_pdu_of_4_gb_is_not_read(receiver, kind):
    before = psutil.Process().memory_info().rss
    with dial(receiver) as one:
        began, sent = time.monotonic(), 0
        with suppress(OSError):
            one.sendall(struct.pack(">BBL", kind, 0, 0xFFFFFFFF))
            while sent < 200_000_000 and time.monotonic() - began < 5:
                sent += one.send(bytes(1 << 20))
        assert sent < 50_000_000
    assert psutil.Process().memory_info().rss - before < 100_000_000
    assert works(receiver)


def test_associations_that_do_nothing_give_way(receiver):
    with ExitStack() as stack:
        idle = [stack.enter_context(dial(receiver)) for _ in range(FAST.connections)]
        for one in idle:
            one.sendall(request())
            assert one.recv(1) == b"\x02", "accepted"
        time.sleep(FAST.idle_seconds + 0.3)
        assert works(receiver)
        assert sum(ended(one, within=0.1) for one in idle) >= 1


def test_studies_that_broke_off_give_way(receiver):
    entity = pynetdicom.AE(ae_title="SCANNER")
    entity.add_requested_context(CT, ExplicitVRLittleEndian)

    def send(how: str) -> int:
        association = entity.associate("127.0.0.1", receiver.port, ae_title="NNSTUDENT")
        header = Series().slices[0]
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        status = association.send_c_store(header).Status
        getattr(association, how)()
        return int(status)

    for _ in range(LIMITS.uploads):
        assert send("abort") == 0
    time.sleep(0.5)
    assert send("release") == 0
    assert len(receiver._studies) <= LIMITS.uploads


def test_whatever_is_sent_it_listens_on(receiver):
    """Seeded bytes that are almost an association: each connection ends, then it serves again."""
    dice = random.Random(21)
    whole = (
        request() + b"\x04\0\0\0\0\x10\0\0\0\x0c\x01\x03" + bytes(10) + b"\x05\0\0\0\0\x04\0\0\0\0"
    )
    for _ in range(60):
        sent = bytearray(whole)
        for _ in range(dice.randrange(1, 8)):
            at = dice.randrange(len(sent))
            how = dice.randrange(3)
            if how == 0:
                sent[at] = dice.randrange(256)
            elif how == 1:
                del sent[at : at + dice.randrange(1, 30)]
            else:
                sent[at:at] = dice.randbytes(dice.randrange(1, 30))
        with dial(receiver) as one, suppress(OSError):
            one.sendall(bytes(sent))
            one.shutdown(socket.SHUT_WR)
    until = time.monotonic() + 10
    while (
        left := [
            thread for thread in threading.enumerate() if thread.name.startswith("AcceptorThread")
        ]
    ) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == []
    assert works(receiver), "before, the threads of so many connections can be at their limit"
    assert receiver._studies == {}


def test_a_deflated_data_set_is_not_taken(receiver):
    entity = pynetdicom.AE(ae_title="SCANNER")
    entity.add_requested_context(CT, "1.2.840.10008.1.2.1.99")
    association = entity.associate("127.0.0.1", receiver.port, ae_title="NNSTUDENT")
    assert [context.abstract_syntax for context in association.rejected_contexts] == [CT]
    association.release()
