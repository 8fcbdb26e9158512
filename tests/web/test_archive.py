"""Archives that are uploaded, also hostile ones."""

from __future__ import annotations

import stat
import zipfile

import pytest

from tests.web.conftest import limited, taking_in
from tests.web.test_uploads import DICOM, GZ, refused, taken, zipped


def info(name: str, *, mode: int = stat.S_IFREG) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (mode | 0o644) << 16
    return entry


def test_an_archive_is_unpacked(served):
    job = taken(
        served,
        (
            "Study.zip",
            zipped(("s/1.dcm", DICOM), ("s/2", DICOM), ("s/", b""), ("__MACOSX/s/._1.dcm", b"x")),
        ),
    )
    assert (job.name, job.kind) == ("s", "dicom"), "the folder in the archive says more"
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
