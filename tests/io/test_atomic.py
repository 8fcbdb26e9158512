from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnstudent.data_files import read_json
from nnstudent.errors import InputError, OutputError, OutputNameError
from nnstudent.io.atomic import (
    _host,
    check_file,
    replacing,
    replacing_folder,
    sweep,
    write_json,
    write_text,
)


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
    with (
        pytest.raises(OutputError, match="cannot be written"),
        replacing_folder(tmp_path / "file" / "f"),
    ):
        pass


def test_json(tmp_path):
    write_json(tmp_path / "a.json", {"name": "größe"})
    assert read_json(tmp_path / "a.json", what="a test") == {"name": "größe"}
    with pytest.raises(InputError, match="expected the file of a test"):
        read_json(tmp_path / "b.json", what="a test")


def left_by(
    pid: int, folder: Path, name: str, *, old: bool = False, host: str | None = None
) -> Path:
    return folder / f".nnstudent-{'old-' if old else ''}{host or _host()}-{pid}-0123abcd.{name}"


@pytest.fixture
def dead() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_only_leftovers_of_a_killed_process_are_removed(tmp_path, dead):
    gone = (
        left_by(dead, tmp_path, "a.nii.gz"),
        left_by(dead, tmp_path, "bundle") / "networks" / "x.bin",
    )
    kept = (
        left_by(os.getpid(), tmp_path, "b.nii.gz"),
        left_by(dead, tmp_path, "c.nii.gz", host="0" * 8),
        tmp_path / ".hidden",
    )
    for path in (*gone, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    write_text(tmp_path / "d", "x")
    assert names(tmp_path) == sorted([*(path.name for path in kept), "d"])
    os.utime(kept[1], (0, 0))  # of another machine, and nobody has touched it for long
    sweep(tmp_path)
    assert kept[1].exists()
    sweep(tmp_path, whole=True)
    assert not kept[1].exists()


def test_a_folder_that_was_about_to_be_replaced_is_given_back(tmp_path, dead):
    for place in ("there", "gone"):
        old = left_by(dead, tmp_path, place, old=True)
        old.mkdir()
        (old / "content").write_text("old")
    (tmp_path / "there").mkdir()
    sweep(tmp_path)
    assert names(tmp_path) == ["gone", "there"]
    assert (tmp_path / "gone" / "content").read_text() == "old"
    assert names(tmp_path / "there") == []


def test_a_name_as_long_as_a_file_system_takes(tmp_path):
    name = "ä" * 124 + ".nii.gz"
    write_text(tmp_path / name, "x")
    assert names(tmp_path) == [name]


def test_a_name_that_is_too_long_is_that_names_fault_alone(tmp_path):
    with pytest.raises(OutputNameError, match="File name too long"):
        write_text(tmp_path / ("a" * 256), "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputNameError, match="Is a directory"):
        write_text(tmp_path / "folder", "x")
    assert names(tmp_path) == ["folder"]


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="names that are no text are Linux's"
)
def test_a_name_that_is_not_text(tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / f"{odd}.json", {"path": odd})
    assert read_json(tmp_path / f"{odd}.json", what="a test") == {"path": odd}
    write_text(tmp_path / "a.csv", f"{odd},1\n")
    assert (tmp_path / "a.csv").read_bytes() == b"caf\\xe9,1\n"


def test_json_that_is_nested_without_end(tmp_path):
    (tmp_path / "a.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(tmp_path / "a.json", what="a test")


@pytest.mark.parametrize("delay", range(8))
def test_killed_at_any_moment_the_folder_is_the_old_or_the_new(tmp_path, delay):
    """If a process that keeps replacing a folder is killed, the next call finds a whole version."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom nnstudent.io.atomic import replacing_folder\n"
        "for turn in range(10**9):\n"
        "    with replacing_folder(Path(sys.argv[1])) as new:\n"
        "        for part in 'ab':\n            (new / part).write_text(str(turn))\n"
        "    if not turn:\n        print('begun', flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "f")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    time.sleep(delay * 0.0037)
    child.kill()
    child.wait()
    sweep(tmp_path)
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f") == ["a", "b"]
    assert (tmp_path / "f" / "a").read_text() == (tmp_path / "f" / "b").read_text()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
@pytest.mark.parametrize("write", [lambda path: write_text(path, "x"), check_file])
def test_a_device_or_pipe_is_never_replaced(tmp_path, write):
    """Renaming onto /dev/null would remove it from the system."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(os.devnull)
    for path in (pipe, link):
        with pytest.raises(OutputError, match="is a device, pipe or socket"):
            write(path)
        with pytest.raises(OutputError, match="is a device"), replacing_folder(path):
            pytest.fail("has begun")
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert names(tmp_path) == ["link", "pipe"]


@pytest.mark.parametrize("name", ["x" * 300, "ü" * 200, "there/" + "x" * 300])
def test_a_name_that_is_too_long_is_known_before_the_work(tmp_path, name):
    """Also below a folder that is not there yet, for which the system says nothing."""
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(OutputError, match="File name too long"):
            check_file(folder / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_cleaned_up_where_no_more_files_can_be_opened(tmp_path):
    """The block fails because it has opened too many, and keeps them open."""
    code = (
        "import os, resource, sys\n"
        "from pathlib import Path\n"
        "from nnstudent.errors import OutputError\n"
        "from nnstudent.io.atomic import replacing_folder\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))\n"
        "held = []\n"
        "try:\n"
        "    with replacing_folder(Path(sys.argv[1]) / 'out') as folder:\n"
        "        (folder / 'inner' / 'deep').mkdir(parents=True)\n"
        "        while True:\n"
        "            name = folder / 'inner' / 'deep' / str(len(held))\n"
        "            held.append(os.open(name, os.O_CREAT | os.O_WRONLY))\n"
        "except OutputError as error:\n"
        "    print(error)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "place")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert list((tmp_path / "place").iterdir()) == []
