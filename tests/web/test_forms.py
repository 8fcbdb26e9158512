from __future__ import annotations

import asyncio

import pytest

from nnstudent.errors import GeometryError, InputError
from nnstudent.web.forms import Form, FormFile, TooLargeError, receive_form, sender_names
from nnstudent.web.settings import Limits


def received(
    folder,
    *parts,
    end=b"--x--\r\n",
    limits=None,
    kind="multipart/form-data; boundary=x",
    chunk=7,
):
    body = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end

    async def stream():
        for start in range(0, len(body), chunk):
            yield body[start : start + chunk]

    return asyncio.run(
        receive_form(
            stream(), kind, folder, limits or Limits(), files=("label",), texts=("params",)
        )
    )


def part(name, content, filename=None):
    file = f'; filename="{filename}"' if filename else ""
    return f'Content-Disposition: form-data; name="{name}"{file}\r\n\r\n{content}'.encode()


def test_texts_and_files_come_apart(tmp_path):
    form = received(tmp_path, part("params", "{}"), part("label", "voxels", "/tmp/a/l.nii.gz"))
    assert form.texts == {"params": "{}"}
    (file,) = form.files
    assert (file.field, file.name, file.path.name) == ("label", "/tmp/a/l.nii.gz", "00000.nii.gz")
    assert file.path.read_text() == "voxels"


@pytest.mark.parametrize(
    ("parts", "more", "words"),
    [
        ((part("other", "x"),), {}, "other fields"),
        ((part("label", "x"),), {}, "other fields"),
        ((part("params", "{}"),), {"end": b""}, "incomplete"),
        ((part("params", "{}"),), {"kind": "application/json"}, "not a form"),
    ],
)
def test_what_is_no_form_of_these_fields_is_refused(tmp_path, parts, more, words):
    with pytest.raises(InputError, match=words):
        received(tmp_path, *parts, **more)


def test_too_much_is_refused(tmp_path):
    with pytest.raises(TooLargeError, match="more than 1 files"):
        received(
            tmp_path,
            part("label", "x", "a.nii"),
            part("label", "x", "b.nii"),
            limits=Limits(files=1),
        )
    with pytest.raises(TooLargeError, match="text"):
        received(tmp_path, part("params", "x" * 1_000_001), chunk=1 << 16)


def test_an_error_names_files_as_their_sender_does(tmp_path):
    path = tmp_path / "00000.nii.gz"
    form = Form([FormFile("label", "/home/anna/mine.nii.gz", path)])
    with pytest.raises(GeometryError, match=r"^mine: on another grid$"), sender_names(form):
        raise GeometryError(f"{path}: on another grid")
