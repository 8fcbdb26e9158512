"""The client, against a tiny server on loopback that answers as PACS do, and as they should not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")

import pydicom
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.errors import InputError
from nnstudent.web.pacs.client import PacsClient, is_uid
from nnstudent.web.pacs.credentials import authorization
from nnstudent.web.pacs.errors import PacsError, UnreachableError
from nnstudent.web.pacs.multipart import Parts
from nnstudent.web.settings import Limits
from tests.io.series import Series, save

MULTIPART = 'multipart/related; type="application/dicom"; boundary=b0'
Answer = tuple[int, str, bytes]


class Fake:
    """A DICOMweb service of these series.

    ``answers`` maps a path to responses that replace the normal ones, one for each request.
    """

    def __init__(self, *series: Series) -> None:
        self.series = {one.uid: one for one in series}
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path)
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fake.asked.append((self.command, self.path, dict(self.headers), content))
                special = fake.answers.get(path.path)
                status, kind, body = (
                    special.pop(0) if special else fake.answer(path.path, parse_qs(path.query))
                )
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                if 300 <= status < 400:
                    self.send_header("Location", "/dicom-web/elsewhere")
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/dicom-web"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str, query: dict[str, list[str]]) -> Answer:
        parts = path.removeprefix("/dicom-web/").split("/")
        if path.endswith("/series"):
            rows = [one.slices[0].to_json_dict() for one in self.series.values()]
            rows = [{tag: row[tag] for tag in ("0020000E", "00080060")} for row in rows]
            for row, one in zip(rows, self.series.values(), strict=True):
                row["00201209"] = {"vr": "IS", "Value": [len(one.slices)]}
            return 200, "application/dicom+json", json.dumps(rows).encode()
        if path.endswith("/metadata"):
            rows = [
                header.to_json_dict(bulk_data_threshold=10, bulk_data_element_handler=lambda _: "x")
                for header in self.of(parts[3])
            ]
            return 200, "application/dicom+json", json.dumps(rows).encode()
        if len(parts) == 4:
            return (
                200,
                'multipart/related; type="application/dicom"; boundary=b0',
                multipart([file_of(header) for header in self.of(parts[3])]),
            )
        return 404, "text/plain", b"Secretname^Petra"

    def of(self, uid: str) -> list:
        return self.series[uid].slices


def file_of(header) -> bytes:
    save(header, file := BytesIO())
    return file.getvalue()


def multipart(files: list[bytes], boundary: str = "b0") -> bytes:
    parts = [
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file + b"\r\n"
        for file in files
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


@pytest.fixture
def series() -> Series:
    return Series(number=7)


@pytest.fixture
def fake(series) -> Iterator[Fake]:
    made = Fake(series)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def pacs(fake) -> PacsClient:
    return PacsClient(fake.url, waits=(0, 0))


@pytest.fixture
def folder(tmp_path):
    (made := tmp_path / "input").mkdir()
    return made


def test_a_series_is_fetched_byte_by_byte_under_names_of_our_own(pacs, series, folder):
    seen = []
    assert (
        pacs.fetch(
            series.study,
            folder,
            limits=Limits(),
            progress=lambda done, total: seen.append((done, total)),
        )
        == []
    )
    assert sorted(path.name for path in folder.iterdir()) == [f"{n:05d}.dcm" for n in range(5)]
    assert {path.read_bytes() for path in folder.iterdir()} == {
        file_of(header) for header in series.slices
    }
    assert seen[-1] == (5, 5)


def test_of_several_series_only_the_one_that_is_meant_is_fetched(pacs, fake, series, folder):
    sharp, scout = Series(number=1), Series(number=2, slices=9)
    for header in sharp.slices:
        header.ConvolutionKernel = "B70f"
    for header in scout.slices:
        header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    fake.series = {one.uid: one for one in (sharp, scout, series)}
    (told,) = pacs.fetch(series.study, folder, limits=Limits())
    assert (
        told
        == "took CT series 7: 5 images of 8×6, axial; passed over 1: 5 images of 8×6, axial, B70f"
    )
    assert {pydicom.dcmread(path).SeriesNumber for path in folder.iterdir()} == {7}
    fetched = [path for _, path, _, _ in fake.asked if path.count("/") == 5]
    assert fetched == [f"/dicom-web/studies/{series.study}/series/{series.uid}"]


def test_what_is_broken_off_is_fetched_anew(pacs, fake, series, folder):
    path = f"/dicom-web/studies/{series.study}/series/{series.uid}"
    whole = multipart([file_of(header) for header in series.slices])
    fake.answers[path] = [(200, MULTIPART, whole[:3000]), (503, "text/plain", b"busy")]
    pacs.fetch(series.study, folder, limits=Limits())
    assert len(list(folder.iterdir())) == 5
    fake.answers[path] = [
        (200, MULTIPART, multipart([file_of(header) for header in series.slices[:3]]))
    ] * 3
    with pytest.raises(UnreachableError, match="sent 3 images of 5, then closed"):
        pacs.fetch(series.study, folder, limits=Limits())


@pytest.mark.parametrize(
    ("limits", "said"),
    [(Limits(files=4), "more than 4 files"), (Limits(upload_bytes=2000), "more than 0 MB")],
)
def test_what_is_too_much_is_not_taken(pacs, series, folder, limits, said):
    with pytest.raises(InputError, match=said):
        pacs.fetch(series.study, folder, limits=limits)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10_000


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, "text/plain", b""), "requires a login; give user and password"),
        ((403, "text/plain", b""), "does not allow this"),
        ((404, "text/plain", b""), "has no such study"),
        ((302, "text/plain", b""), "redirects to another address"),
        ((500, "text/plain", b"Secretname"), "cannot answer now .HTTP 500."),
        ((200, "text/html", b"<html>Secretname"), "does not answer in DICOM JSON"),
        ((200, "application/json", b'{"a": 1}'), "does not answer in DICOM JSON"),
        ((204, "application/json", b""), "has no CT series in this study"),
        (
            (200, "application/json", b'[{"0020000E": {"Value": ["../../etc"]}}]'),
            "has no CT series in this study",
        ),
    ],
)
def test_what_a_pacs_may_answer_is_told_in_one_line(pacs, fake, series, folder, answer, said):
    fake.answers[f"/dicom-web/studies/{series.study}/series"] = [answer] * 3
    with pytest.raises(PacsError, match=said) as error:
        pacs.fetch(series.study, folder, limits=Limits())
    assert "\n" not in str(error.value)
    assert "Secret" not in str(error.value)
    assert series.study not in str(error.value)
    assert not any("elsewhere" in path for _, path, _, _ in fake.asked), (
        "nothing is sent to where nobody named"
    )


def test_a_dead_pacs_is_one_line(fake, series, folder):
    fake.server.shutdown()
    fake.server.server_close()
    with pytest.raises(UnreachableError) as error:
        PacsClient(fake.url, waits=(0,)).fetch(series.study, folder, limits=Limits())
    assert (
        str(error.value) == f"the PACS at {fake.url} cannot be reached (Connection refused); "
        "check that it is running and that the address is right"
    )


def test_a_file_is_stored_with_who_we_are(fake, series, tmp_path):
    (path := tmp_path / "seg.dcm").write_bytes(file_of(series.slices[0]))
    where = f"/dicom-web/studies/{series.study}"
    fake.answers[where] = [(503, "text/plain", b""), (200, "application/dicom+json", b"{}")]
    PacsClient(fake.url, authorization="Bearer abc", waits=(0,)).store(series.study, path)
    command, asked, headers, content = fake.asked[-1]
    assert (command, asked, headers["Authorization"]) == ("POST", where, "Bearer abc")
    assert path.read_bytes() in content
    for answer, said in (
        (
            (
                409,
                "application/dicom+json",
                b'{"00081198": {"Value": [{"00081197": {"Value": [272]}}]}}',
            ),
            "HTTP 409, reason 0x0110",
        ),
        (
            (
                202,
                "application/dicom+json",
                b'{"00081198": {"Value": [{"00081197": {"Value": [42752]}}]}}',
            ),
            "HTTP 202, reason 0xa700",
        ),
        ((409, "application/dicom+xml", b"<no/>"), "does not store the segmentation .HTTP 409."),
    ):
        fake.answers[where] = [answer]
        with pytest.raises(PacsError, match=said):
            PacsClient(fake.url, waits=()).store(series.study, path)


def test_studies_are_told_newest_first_without_names(pacs, fake):
    def row(uid: str, day: str, modalities: list[str]) -> dict:
        values = {
            "0020000D": [uid],
            "00080020": [day],
            "00080030": ["101112.5"],
            "00080061": modalities,
            "00100010": ["Secretname"],
        }
        return {tag: {"Value": value} for tag, value in values.items()}

    rows = [
        row("1.2", "20260101", ["CT"]),
        row("1.3", "20260201", ["CT", "SEG"]),
        row("1.4", "20260301", ["MR"]),
        row("../x", "", ["CT"]),
    ]
    fake.answers["/dicom-web/studies"] = [
        (200, "application/dicom+json", json.dumps(rows).encode())
    ]
    found = pacs.studies(days=3, limit=5)
    assert [(study.uid, study.date, study.time) for study in found] == [
        ("1.3", "20260201", "101112"),
        ("1.2", "20260101", "101112"),
    ]
    assert "Secret" not in str(found)
    query = parse_qs(urlsplit(fake.asked[-1][1]).query)
    assert query["ModalitiesInStudy"] == ["CT"]
    assert len(query["StudyDate"][0]) == 17


@pytest.mark.parametrize(
    "url", ["pacs", "ftp://pacs/x", "http://", "http://pacs/x?y", "https://clerk:secret@pacs/x"]
)
def test_addresses_that_are_none(url):
    with pytest.raises(InputError) as error:
        PacsClient(url)
    assert "secret" not in str(error.value)


def test_who_we_are_comes_from_the_environment_or_netrc(tmp_path):
    (path := tmp_path / "netrc").write_text("machine pacs.example login clerk password se:cret\n")
    path.chmod(0o600)
    netrc = {"NETRC": str(path)}
    assert (
        authorization("https://pacs.example:8/x", environment=netrc) == "Basic Y2xlcms6c2U6Y3JldA=="
    )
    assert authorization("https://other.example/x", environment=netrc) is None
    user = {**netrc, "NNSTUDENT_PACS_USER": "a", "NNSTUDENT_PACS_PASSWORD": "b"}
    assert authorization("https://pacs.example/x", environment=user) == "Basic YTpi"
    assert (
        authorization("https://pacs.example/x", environment={**user, "NNSTUDENT_PACS_TOKEN": "t"})
        == "Bearer t"
    )
    with pytest.raises(InputError, match="expected both"):
        authorization("https://pacs.example/x", environment={"NNSTUDENT_PACS_USER": "a"})
    path.write_text("machine secret nonsense")
    with pytest.raises(InputError, match="cannot be read as netrc") as error:
        authorization("https://pacs.example/x", environment=netrc)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("text", ["1.2.840", "1", "0.0"])
def test_uids(text):
    assert is_uid(text)


@pytest.mark.parametrize("text", ["", "1..2", "1.2/..", "1." * 33, "1\n", "a"])
def test_no_uids(text):
    assert not is_uid(text)


@given(
    files=st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_parts_are_whole_wherever_the_body_is_cut(files, cuts, tmp_path_factory: Callable):
    folder = tmp_path_factory.mktemp("parts")
    boundary = "never-in-a-file-0123456789"
    body = multipart(files, boundary)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    with Parts(
        folder, f'multipart/related; type="application/dicom"; boundary="{boundary}"', most=9
    ) as parts:
        for start, end in pairwise(edges):
            parts.write(body[start:end])
    assert (parts.count, parts.ended) == (len(files), True)
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == files


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'[{"0020000D": {"Value": ["1.2"]}, "00080061": 5}]',
        b'[{"0020000D": {"Value": ["1.2"]}, "00080061": {"Value": "CT"}, '
        b'"00201208": {"Value": [Infinity]}}]',
        b'[{"0020000D": {"Value": [["1.2"]]}, "00080061": {"Value": ["CT"]}, '
        b'"00201208": {"Value": [1e400]}}]',
        b'[{"0020000D": "1.2", "00080020": {"Value": [{}]}}]',
        b'[{"00201208": {"Value": [' + b"9" * 5000 + b"]}}]",
    ],
)
def test_whatever_a_pacs_answers_is_no_study_or_one_line(pacs, fake, body):
    fake.answers["/dicom-web/studies"] = [(200, "application/dicom+json", body)]
    found = []
    with suppress(PacsError):
        found = pacs.studies()
    assert all(is_uid(study.uid) for study in found)


def test_an_answer_that_drips_is_given_up(fake, monkeypatch):
    monkeypatch.setattr("nnstudent.web.pacs.client._ANSWER_SECONDS", -1.0)
    fake.answers["/dicom-web/studies"] = [(200, "application/dicom+json", b"[ ]")]
    with pytest.raises(UnreachableError, match="took longer than"):
        PacsClient(fake.url, waits=()).studies()
