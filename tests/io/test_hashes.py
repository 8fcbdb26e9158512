from __future__ import annotations

import os
from contextlib import nullcontext

import pytest

from nnstudent.errors import InputError, OutputError
from nnstudent.io import hashes
from nnstudent.io.hashes import FileHashes, hashes_path
from nnstudent.io.parts import Part
from nnstudent.io.record import file_hash


def test_a_file_is_read_again_only_if_its_size_or_time_is_another(tmp_path, monkeypatch):
    file, cache, read = tmp_path / "a", tmp_path / "out" / ".hashes.json", []
    monkeypatch.setattr(hashes, "file_hash", lambda path: read.append(path) or file_hash(path))
    file.write_bytes(b"one")
    for _ in range(2):
        with FileHashes(cache) as hash_of:
            assert hash_of(file) == hash_of(file) == file_hash(file)
    assert read == [file]
    file.write_bytes(b"two")
    os.utime(file, ns=(0, 0))
    with FileHashes(cache) as hash_of:
        assert hash_of(file) == file_hash(file)
    assert read == [file, file]
    assert str(tmp_path) not in cache.read_text()


def test_what_was_read_is_kept_if_the_work_is_stopped(tmp_path, monkeypatch):
    file, cache = tmp_path / "a", tmp_path / ".hashes.json"
    file.write_bytes(b"one")
    with pytest.raises(KeyboardInterrupt):
        stopped(cache, file, KeyboardInterrupt)
    monkeypatch.setattr(hashes, "file_hash", lambda path: pytest.fail(f"{path} is read again"))
    with FileHashes(cache) as hash_of:
        assert hash_of(file)


@pytest.mark.parametrize("error", [None, InputError])
def test_a_call_that_makes_nothing_leaves_no_hashes(tmp_path, error):
    file, cache = tmp_path / "a", hashes_path(tmp_path / "out")
    file.write_bytes(b"one")
    for results in (False, True):
        if results:
            cache.parent.mkdir()
            (cache.parent / "b.nii.gz").touch()
        expected = nullcontext() if error is None else pytest.raises(error)
        with expected, FileHashes(cache, beside_results=True) as hash_of:
            hash_of(file)
            if error is not None:
                raise error
        assert cache.exists() is results


def stopped(cache, file, error):
    with FileHashes(cache) as hash_of:
        hash_of(file)
        raise error


def test_damaged_hashes_are_named_and_not_used(tmp_path, caplog):
    file, cache = tmp_path / "a", tmp_path / ".hashes.json"
    file.write_bytes(b"one")
    cache.write_bytes(b"{")
    with FileHashes(cache) as hash_of:
        assert hash_of(file) == file_hash(file)
    assert ".hashes.json" in caplog.text


def test_hashes_that_cannot_be_kept_are_an_error_unless_another_came_first(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    with pytest.raises(OutputError), FileHashes(file / "in a file") as hash_of:
        hash_of(file)
    with pytest.raises(ZeroDivisionError):
        stopped(file / "in a file", file, ZeroDivisionError)


def test_each_part_has_a_file_of_its_own(tmp_path):
    assert hashes_path(tmp_path).name == ".nnstudent.hashes"
    assert hashes_path(tmp_path, Part(2, 8)).name == ".nnstudent-2-of-8.hashes"
