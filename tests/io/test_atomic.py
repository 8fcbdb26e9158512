from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.errors import InputError, OutputError
from nnstudent.io.atomic import read_json, replacing, replacing_folder, write_json, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def half(path):
    path.write_text("half")
    raise ZeroDivisionError


def test_a_file_appears_only_when_whole(tmp_path):
    path = tmp_path / "new" / "a.nii.gz"
    with replacing(path) as temporary:
        temporary.write_text("x")
        assert not path.exists()
        assert temporary.name.endswith(".nii.gz")
    assert path.read_text() == "x"
    assert names(path.parent) == ["a.nii.gz"]


def test_an_error_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as temporary:
        half(temporary)
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_an_error_on_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), replacing(tmp_path / "a"):
        (tmp_path / "elsewhere").read_text()


@pytest.mark.parametrize("place", ["file/a", "file/b/c/d/a", "folder"])
def test_a_place_that_cannot_be_taken(tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(tmp_path / place, "x")
    assert names(tmp_path) == ["file", "folder"]


def test_a_grandparent_that_cannot_be_made():
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(Path("/proc/none/b/c/a"), "x")


def test_a_folder_takes_the_place_of_the_old(tmp_path):
    for content in ("one", "two"):
        with replacing_folder(tmp_path / "f") as temporary:
            (temporary / content).write_text("")
        assert names(tmp_path / "f") == [content]
    assert names(tmp_path) == ["f"]


def test_a_folder_takes_the_place_of_a_file(tmp_path):
    write_text(tmp_path / "f", "")
    with replacing_folder(tmp_path / "f") as temporary:
        (temporary / "a").write_text("")
    assert names(tmp_path / "f") == ["a"]
    assert names(tmp_path) == ["f"]


def test_an_error_leaves_the_old_folder(tmp_path):
    (tmp_path / "f" / "old").mkdir(parents=True)
    with pytest.raises(ZeroDivisionError), replacing_folder(tmp_path / "f") as temporary:
        half(temporary / "half")
    assert names(tmp_path / "f") == ["old"]
    assert names(tmp_path) == ["f"]


def test_a_folder_that_cannot_be_moved_in_gives_the_old_back(tmp_path):
    (tmp_path / "f" / "old").mkdir(parents=True)
    with pytest.raises(OutputError), replacing_folder(tmp_path / "f") as temporary:
        temporary.rmdir()  # as if somebody had cleaned up: there is nothing to move in
    assert names(tmp_path / "f") == ["old"]
    assert names(tmp_path) == ["f"]


def test_a_folder_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"), replacing_folder(tmp_path / "file" / "f"):
        pass


def test_json(tmp_path):
    write_json(tmp_path / "a.json", {"name": "größe"})
    assert read_json(tmp_path / "a.json", what="a test") == {"name": "größe"}
    with pytest.raises(InputError, match="expected the file of a test"):
        read_json(tmp_path / "b.json", what="a test")
    (tmp_path / "c.json").write_bytes(b"\xff{")
    with pytest.raises(InputError, match="no valid JSON"):
        read_json(tmp_path / "c.json", what="a test")
