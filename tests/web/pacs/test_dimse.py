"""Application entity titles, and sending by C-STORE."""

from __future__ import annotations

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")


from nnstudent.errors import InputError
from nnstudent.web.pacs.dimse import Peer, parse_peer, send
from nnstudent.web.pacs.errors import PacsError, UnreachableError
from tests.io.series import Series, save
from tests.web.pacs.test_receive import MR


def test_sending_by_c_store(receiver, tmp_path):
    save(Series().slices[0], tmp_path / "ct.dcm")
    peer = Peer("NNSTUDENT", "127.0.0.1", receiver.port)
    send(tmp_path / "ct.dcm", peer, title="SCANNER")
    with pytest.raises(PacsError, match="rejects STRANGER"):
        send(tmp_path / "ct.dcm", peer, title="STRANGER")
    with pytest.raises(UnreachableError, match=r"PACS at 127\.0\.0\.1, port 9 cannot be reached"):
        send(tmp_path / "ct.dcm", Peer("PACS", "127.0.0.1", 9), title="SCANNER")
    other = Series().slices[0]
    other.SOPClassUID = MR
    save(other, tmp_path / "mr.dcm")
    with pytest.raises(PacsError, match="does not accept"):
        send(tmp_path / "mr.dcm", peer, title="SCANNER")


@pytest.mark.parametrize(
    "text",
    [
        "PACS",
        "PACS@host",
        "@host:1",
        "PACS@:1",
        "P@host:0",
        "P@host:x",
        "A" * 17 + "@host:1",
        "A\\B@host:1",
    ],
)
def test_peers_that_are_none(text):
    with pytest.raises(InputError):
        parse_peer(text)


def test_peers():
    assert parse_peer("MY PACS@[::1]:104") == Peer("MY PACS", "::1", 104)
