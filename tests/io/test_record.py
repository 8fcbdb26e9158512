from __future__ import annotations

import os

import pytest

from nnstudent.io.record import data_hash, file_hash, is_made_from, read_state, write_record


def test_a_record_states_what_a_result_was_made_from(tmp_path):
    path = tmp_path / "record.json"
    made_from = {"image": "abc", "settings": {"folds": 5, "name": "paper"}}
    assert not is_made_from(path, made_from)
    write_record(path, stage="teach", made_from=made_from, seconds=3)
    assert is_made_from(path, {"settings": {"name": "paper", "folds": 5}, "image": "abc"})
    assert not is_made_from(path, made_from | {"image": "abd"})


def test_a_damaged_record_is_none(tmp_path):
    for content in (b"", b"{", b"[]", b"\xff", b'{"made_from": 3}'):
        (tmp_path / "record.json").write_bytes(content)
        assert not is_made_from(tmp_path / "record.json", {})


def test_hashes_tell_content_apart(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "b").write_bytes(b"x" * 100_000)
    (tmp_path / "c").write_bytes(b"x" * 99_999 + b"y")
    assert file_hash(tmp_path / "a") == file_hash(tmp_path / "b") != file_hash(tmp_path / "c")
    assert data_hash([1, 2]) != data_hash([2, 1])
    assert len(data_hash({})) == 16


def test_a_record_does_not_hold_for_a_changed_result(tmp_path, caplog):
    result, record = tmp_path / "maps" / "a.nii.gz", tmp_path / "records" / "a.json"
    result.parent.mkdir()
    result.write_bytes(b"whole")
    write_record(record, stage="test", made_from={"x": 1}, files=[result])
    assert is_made_from(record, {"x": 1})
    assert not is_made_from(record, {"x": 2})
    result.write_bytes(b"who")
    assert not is_made_from(record, {"x": 1})
    assert "a.nii.gz: has changed since it was written; it is made again" in caplog.text
    result.unlink()
    assert not is_made_from(record, {"x": 1})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "[" * 200_000,
        "1" * 5000,
        '{"made_from": 1, "files": 7}',
        '"\\ud800"',
        "\0",
        None,
    ],
)
def test_damaged_notes_hold_nobody_up(tmp_path, content, caplog):
    path = tmp_path / "a.json"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_text(content)
    assert not is_made_from(path, {"x": 1})
    if not (content or "").startswith('{"'):
        assert read_state(path, what="a test") is None
        assert str(path) in caplog.text
