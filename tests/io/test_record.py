from __future__ import annotations

from nnstudent.io.record import data_hash, file_hash, is_made_from, write_record


def test_a_record_tells_what_a_result_was_made_from(tmp_path):
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
