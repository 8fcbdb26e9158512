"""What is sent: sizes, counts, names, archives."""

from __future__ import annotations

import io
import json
import logging
import stat
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.io.archive import is_clutter
from nnstudent.web.names import disk_suffix, display_name
from tests.web.conftest import limited, taking_in, upload

GZ = b"\x1f\x8b\x08\x00rest"
DICOM = bytes(128) + b"DICMrest"


@pytest.fixture
def served(settings):
    with taking_in(limited(settings, upload_bytes=100_000, files=20)) as (service, client):
        yield service, client()


def zipped(
    *files: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return out.getvalue()


def info(name: str, *, mode: int = stat.S_IFREG) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (mode | 0o644) << 16
    return entry


def refused(served, *files, code: int = 400) -> str:
    service, client = served
    answer = upload(client, *files)
    assert answer.status_code == code
    assert list(answer.json()) == ["error"]
    assert len(service.jobs) == 0
    assert list((service.settings.work / "jobs").iterdir()) == [], "nothing stays behind"
    return answer.json()["error"]


def taken(served, *files):
    service, client = served
    answer = upload(client, *files)
    assert answer.status_code == 201, answer.text
    return service.jobs._jobs[answer.json()["id"]]


def test_names_never_become_paths(served, tmp_path):
    evil = [
        "../../../evil.nii.gz",
        "/etc/evil.nii.gz",
        "..\\..\\evil.nii.gz",
        "C:\\evil.nii.gz",
        "a/../../evil.nii.gz",
        "\u202egz.iin.live.nii.gz",
    ]
    for name in evil:
        job = taken(served, (name, GZ))
        assert [path.name for path in job.input.iterdir()] == ["00000.nii.gz"]
        assert ("live" if "\u202e" in name else "evil") in job.name
        assert not set(job.name) & set("/\\:\u202e")
    assert list(tmp_path.rglob("*evil*")) == []


def test_a_folder_is_called_as_its_top(served):
    job = taken(
        served,
        ("CT abdomen/a/1", DICOM),
        ("CT abdomen/a/2", DICOM),
        ("CT abdomen/.DS_Store", b"x"),
        ("CT abdomen/readme.txt", b"x"),
    )
    assert (job.name, job.kind) == ("CT abdomen", "dicom")
    assert sorted(path.name for path in job.input.iterdir()) == [
        "00000.dcm",
        "00001.dcm",
        "00002.dcm",
    ]
    names = json.loads((job.folder / "names.json").read_text())
    assert names == {
        "00000.dcm": "CT abdomen/a/1",
        "00001.dcm": "CT abdomen/a/2",
        "00002.dcm": "CT abdomen/readme.txt",
    }
    served[0].jobs.finish(job, error="no")
    assert sorted(path.name for path in job.folder.iterdir()) == ["job.json", "output"], (
        "they go with the files"
    )


def test_dicom_without_preamble_is_dicom(served):
    element = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"
    element += b"\x08\x00\x16\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.2\x00"
    content = element + b"x" * 200
    assert taken(served, ("CT/1", content), ("CT/2", content)).kind == "dicom"


def test_too_large_is_cut_off(served):
    said = refused(served, ("ct.nii.gz", GZ + bytes(200_000)), code=413)
    assert said == "an upload of more than 0 MB; send a smaller part of the scan"


def test_too_large_is_cut_off_where_the_length_is_not_told(served):
    service, client = served
    sent = []

    def body():
        yield (
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.nii.gz"\r\n\r\n' + GZ
        )
        for number in range(1000):
            sent.append(number)
            yield bytes(10_000)

    answer = client.post(
        "/api/jobs", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 413
    assert list((service.settings.work / "jobs").iterdir()) == []


def test_too_many_are_refused(served):
    assert "more than 20 files" in refused(
        served, *((f"{n}.dcm", DICOM) for n in range(21)), code=413
    )


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([("a.nii.gz", GZ), ("b.nii.gz", GZ)], "2 image files"),
        ([("a.nii.gz", GZ), ("b.dcm", DICOM)], "an image file among 2 files"),
        ([("notes.txt", b"hello")], "one file, which is not DICOM"),
        ([("a.txt", b"hello"), ("b.txt", b"")], "2 files, none of them DICOM"),
        ([("ct.nii.gz", b"plain")], "does not match its suffix"),
        ([("ct.nii", GZ)], "does not match its suffix"),
        ([("ct.nii.gz", b"")], "does not match its suffix"),
        ([(".DS_Store", b"x")], "no file"),
        ([("a.zip", b"x"), ("b.dcm", DICOM)], "an archive among 2 files"),
        ([("a.zip", b"no archive")], "not a ZIP archive"),
    ],
)
def test_what_cannot_be_segmented_is_refused_at_once(served, files, said):
    assert said in refused(served, *files)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=b"),
        (b"junk", "multipart/form-data; boundary=b"),
        (b"--b--\r\n", "multipart/form-data; boundary=b"),
        (
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\ncut',
            "multipart/form-data; boundary=b",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\n1\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
        ),
        (b"--b\r\n\r\n1\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b"x", "multipart/form-data"),
        (b"x", "multipart/form-data; boundary=" + "b" * 5000),
        (b"{}", "application/json"),
        (b"x", "\xff"),
    ],
)
def test_a_malformed_form_is_refused(served, body, kind):
    _, client = served
    answer = client.post(
        "/api/jobs", content=body, headers={"Content-Type": kind.encode("latin-1")}
    )
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_an_archive_is_unpacked(served):
    job = taken(
        served,
        (
            "Study.zip",
            zipped(("s/1.dcm", DICOM), ("s/2", DICOM), ("s/", b""), ("__MACOSX/s/._1.dcm", b"x")),
        ),
    )
    assert (job.name, job.kind) == ("Study", "dicom")
    assert sorted(path.name for path in job.input.iterdir()) == ["00000.dcm", "00001.dcm"]
    assert sorted(path.name for path in job.folder.iterdir()) == [
        "input",
        "job.json",
        "names.json",
        "output",
    ], "the archive is gone"
    job = taken(served, ("Study.zip", zipped(("ct.nii.gz", GZ))))
    assert (job.name, job.kind) == ("ct", "image")


@pytest.mark.parametrize(
    "name",
    ["../evil.dcm", "/evil.dcm", "a/../../evil.dcm", "..\\evil.dcm", "C:/evil.dcm", "\\evil.dcm"],
)
def test_an_archive_that_leads_out_of_itself_is_refused(served, name, tmp_path):
    assert "leads out of it" in refused(served, ("a.zip", zipped((name, DICOM))))
    assert list(tmp_path.rglob("*evil*")) == []


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_in_an_archive_is_refused(served, mode):
    assert "a link or a device" in refused(
        served, ("a.zip", zipped((info("link.dcm", mode=mode), b"/etc/passwd")))
    )


def test_an_archive_in_an_archive_is_refused(served):
    assert "an archive in an archive" in refused(
        served, ("a.zip", zipped(("b.zip", zipped(("1.dcm", DICOM)))))
    )


def test_an_archive_of_many_files_is_refused(served):
    assert "an archive of 21 files" in refused(
        served, ("a.zip", zipped(*((f"{n}", DICOM) for n in range(21))))
    )


def test_a_bomb_is_refused_by_what_it_says(served, settings):
    assert "expected at most 0.0 GB" in refused(
        served, ("a.zip", zipped(("1.dcm", bytes(20_000_000))))
    )


def test_a_bomb_is_refused_by_how_well_it_is_packed(settings):
    with taking_in(limited(settings, upload_bytes=50_000_000)) as (service, client):
        assert "packed" in refused(
            (service, client()), ("a.zip", zipped(("1.dcm", bytes(20_000_000))))
        )


def test_a_bomb_that_lies_is_stopped_where_it_says_more(served):
    honest = zipped(("1.dcm", DICOM + bytes(90_000)))
    size = (len(DICOM) + 90_000).to_bytes(4, "little")
    assert honest.count(size) == 2
    assert "a damaged ZIP archive" in refused(
        served, ("a.zip", honest.replace(size, (1000).to_bytes(4, "little")))
    )


def test_files_that_lie_over_each_other_are_refused(served):
    content = b"".join(bytes([n % 251, n // 251 % 251]) for n in range(4000))
    archive = bytearray(zipped(("1.dcm", content), method=zipfile.ZIP_STORED))
    at = archive.index(b"PK\x01\x02")
    end = archive.index(b"PK\x05\x06")
    entry, tail = bytes(archive[at:end]), bytearray(archive[end:])
    tail[8:12] = (4).to_bytes(2, "little") * 2
    tail[12:16] = (4 * len(entry)).to_bytes(4, "little")
    assert "overlapping files" in refused(
        served, ("a.zip", bytes(archive[:at]) + entry * 4 + bytes(tail))
    )


def test_a_large_table_of_contents_is_not_read(served, monkeypatch):
    archive = bytearray(zipped(("1.dcm", DICOM)))
    end = archive.rindex(b"PK\x05\x06")
    monkeypatch.setattr("zipfile.ZipFile", lambda *args: pytest.fail("was read"))
    for place, value in ((10, 60_000), (12, 100_000)):
        forged = bytearray(archive)
        forged[end + place : end + place + (2 if place == 10 else 4)] = value.to_bytes(
            2 if place == 10 else 4, "little"
        )
        assert "expected at most 20" in refused(served, ("a.zip", bytes(forged)))
    assert "ZIP64" in refused(
        served, ("a.zip", bytes(archive[:end]) + b"PK\x06\x07" + bytes(16) + bytes(archive[end:]))
    )


def test_a_place_that_is_not_in_the_archive_is_the_sender_s_matter(served):
    archive = bytearray(zipped(("1.dcm", DICOM), ("2.dcm", DICOM)))
    end = archive.rindex(b"PK\x05\x06")
    archive[end + 16 : end + 20] = b"\xff\xff\xff\xff"  # where the table of contents begins
    assert "damaged ZIP archive" in refused(served, ("a.zip", bytes(archive)))


def test_an_encrypted_archive_is_refused(served):
    archive = bytearray(zipped(("1.dcm", DICOM)))
    archive[archive.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refused(served, ("a.zip", bytes(archive)))


def test_what_is_unpacked_needs_room_too(settings):
    with taking_in(limited(settings, upload_bytes=50_000, disk_bytes=60_000)) as (service, client):
        content = bytes(range(256)) * 150
        said = refused(
            (service, client()),
            ("a.zip", zipped(("1.dcm", content), method=zipfile.ZIP_STORED)),
            code=503,
        )
        assert "all the disk space" in said


def test_no_name_is_logged(served, caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        taken(served, ("Secretname^Petra.nii.gz", GZ))
        taken(served, ("Secretname.zip", zipped(("Secretname/1.dcm", DICOM))))
        refused_one = upload(served[1], ("Secretname.txt", b"x"))
    assert refused_one.status_code == 400
    ours = [
        record.getMessage()
        for record in caplog.records
        if not record.name.startswith(("httpx", "httpcore"))
    ]
    assert sum("queued" in line for line in ours) == 2
    assert "Secret" not in "\n".join(ours) + "".join(capfd.readouterr())


@given(st.text(max_size=300))
def test_a_name_to_show_is_short_plain_text(name):
    shown = display_name(name)
    assert 1 <= len(shown) <= 80
    assert shown == " ".join(shown.split())
    assert not set(shown) & set("/\\\0\n\r")
    assert shown[0] not in "=+-@."
    assert disk_suffix(name) in (".nii.gz", ".nii", ".mgz", ".mgh", ".zip", ".dcm")


def test_names():
    assert display_name("a/b/CT 1.nii.gz") == "CT 1"
    assert display_name("folder/") == "folder"
    assert display_name("=cmd()") == "cmd()"
    assert display_name("\u202eevil\x00\r\nname.dcm") == "evil name"
    assert is_clutter("__MACOSX/a/b.dcm")
    assert not is_clutter("a/b.dcm")
