"""The client, against a tiny server on loopback that answers as PACS do, and as they should not."""

from __future__ import annotations

import json
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")


from nnstudent.errors import InputError
from nnstudent.web.pacs.client import PacsClient
from nnstudent.web.pacs.dicom_json import is_uid
from nnstudent.web.pacs.dicomweb import DicomWeb
from nnstudent.web.pacs.errors import PacsError, UnreachableError
from nnstudent.web.settings import Limits
from tests.web.pacs.fake import MULTIPART, file_of, multipart


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


def test_a_file_is_stored_with_who_we_are(fake, series, tmp_path):
    (path := tmp_path / "seg.dcm").write_bytes(file_of(series.slices[0]))
    where = f"/dicom-web/studies/{series.study}"
    fake.answers[where] = [(503, "text/plain", b""), (200, "application/dicom+json", b"{}")]
    PacsClient(DicomWeb(fake.url, authorization="Bearer abc", waits=(0,))).store(series.study, path)
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
            PacsClient(DicomWeb(fake.url, waits=())).store(series.study, path)


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
