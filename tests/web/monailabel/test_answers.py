from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP

from nnstudent.web.monailabel.answers import form_answer


def test_the_parts_can_be_taken_apart_whatever_they_hold(tmp_path):
    path = tmp_path / "labels.nii.gz"
    path.write_bytes(b"\x1f\x8b--\r\n--" + bytes(range(256)))
    answer = form_answer({"warnings": ["--x\r\n"]}, path, name="p1.nii.gz")
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    params, image = BytesParser(policy=HTTP).parsebytes(head + answer.body).iter_parts()
    assert params.get_content_type() == "application/json"
    assert image.get_filename() == "p1.nii.gz"
    assert image.get_payload(decode=True) == path.read_bytes()
