"""What is sent: sizes, counts, names, archives."""

from __future__ import annotations

import io
import json
import logging
import zipfile

import pytest

from tests.web.conftest import upload

GZ = b"\x1f\x8b\x08\x00rest"
DICOM = bytes(128) + b"DICMrest"


def zipped(
    *files: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return out.getvalue()


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
