"""The command, joined to an archive."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")
import httpx2 as httpx
import pynetdicom

from nnstudent.cli.main import main
from tests.web.conftest import free_port
from tests.web.test_serve import started, stopped


def test_a_dead_pacs_is_told_at_the_start_and_a_token_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("NNSTUDENT_PACS_USER", "clerk")
    monkeypatch.setenv("NNSTUDENT_PACS_PASSWORD", "hush-hush")
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    process, address = started(
        "--work", tmp_path / "work", "--pacs", url, "--dicom-port", 0, "--aet", "SEGMENTER"
    )
    try:
        root, token = address.split("#token=")
        title, port = re.fullmatch(
            r"C-STORE: (\w+) at 127\.0\.0\.1, port (\d+)\n",
            [process.stdout.readline() for _ in range(2)][1],
        ).groups()
        entity = pynetdicom.AE()
        entity.add_requested_context("1.2.840.10008.1.1")
        association = entity.associate("127.0.0.1", int(port), ae_title=title)
        assert association.send_c_echo().Status == 0
        association.release()
        with httpx.Client(base_url=root, timeout=60) as client:
            assert client.get("/api/pacs/studies").status_code == 401
            client.headers["Authorization"] = f"Bearer {token}"
            assert "cannot be reached" in client.get("/api/pacs/studies").json()["error"]
    finally:
        out, err = stopped(process)
    assert err.startswith(f"warning: the PACS at {url} cannot be reached (Connection refused)")
    assert "hush" not in out + err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ["--pacs", "http://clerk:hush@pacs/x"],
            "others on this machine can see a user in the address",
        ),
        (["--pacs", "pacs"], "expected the root of its DICOMweb service"),
        (["--dicom-port", "0"], "nowhere to send results to"),
        (["--calling-aet", "A"], "give the port on which to receive"),
        (["--dicom-port", "0", "--send-to", "A"], "expected AET@HOST:PORT"),
        (
            ["--pacs", "http://pacs/x", "--dicom-port", "0", "--calling-aet", "A" * 17],
            "application entity title",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_2(tmp_path, capsys, args, said):
    assert main(["serve", "--port", "0", "--work", str(tmp_path / "work"), *args]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert err.count("\n") == 1
    assert "hush" not in out + err
