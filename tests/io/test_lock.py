from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnstudent.errors import InputError, OutputError
from nnstudent.io.atomic import replacing
from nnstudent.io.lock import writing

HOLD = """
import sys
from pathlib import Path
from nnstudent.io.atomic import replacing
from nnstudent.io.lock import writing
with writing(Path(sys.argv[1])), replacing(Path(sys.argv[1], "result.bin")) as temporary:
    temporary.write_bytes(b"half")
    print("held", flush=True)
    sys.stdin.read()
"""

RACE = """
import os, sys, time
from pathlib import Path
from nnstudent.errors import OutputError
from nnstudent.io.lock import writing
out, start = Path(sys.argv[1]), float(sys.argv[2])
while time.time() < start:
    time.sleep(0.0005)
for turn in range(5):
    try:
        with writing(out):
            mark = out / "inside"
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails if another is inside
            time.sleep(0.002)
            mark.unlink()
        print("held", flush=True)
    except OutputError:
        print("refused", flush=True)
"""


def held_by_another(folder: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_held_by_one_and_free_afterwards(tmp_path):
    out = tmp_path / "a" / "out"
    with (
        writing(out),
        pytest.raises(
            OutputError, match=rf"out: another call writes into it \(process {os.getpid()} on "
        ),
        writing(out),
    ):
        pytest.fail("two at once")
    assert names(tmp_path) == []  # made for this, and left empty
    with writing(out):
        (out / "x").touch()
    assert names(out) == ["x"]


def test_the_parts_of_one_work_do_not_keep_each_other_out(tmp_path):
    with writing(tmp_path, part="1 of 2"), writing(tmp_path, part="2 of 2"):
        pass
    with (
        writing(tmp_path, part="1 of 2"),
        pytest.raises(OutputError),
        writing(tmp_path, part="1 of 2"),
    ):
        pytest.fail("the same part twice")
    assert names(tmp_path) == []


def test_a_folder_that_is_replaced_as_a_whole_is_held_from_beside(tmp_path):
    out = tmp_path / "bundle"
    with writing(out, beside=True):
        assert not out.exists()
        with pytest.raises(OutputError), writing(out, beside=True):
            pytest.fail("two at once")
    assert names(tmp_path) == []


def test_an_error_inside_passes_and_frees(tmp_path):
    with pytest.raises(InputError, match="of the block"), writing(tmp_path / "out"):
        raise InputError("of the block")
    assert names(tmp_path) == []


def test_a_killed_process_releases_its_folder(tmp_path):
    child = held_by_another(tmp_path)
    assert any(name.endswith(".result.bin") for name in names(tmp_path))
    with pytest.raises(OutputError, match=rf"process {child.pid} on "), writing(tmp_path):
        pytest.fail("it lives")
    with replacing(tmp_path / "other") as temporary:  # sweeps too, but what lives is not touched
        temporary.touch()
    assert any(name.endswith(".result.bin") for name in names(tmp_path))
    child.send_signal(signal.SIGKILL)
    child.wait()
    with writing(tmp_path):
        assert [name for name in names(tmp_path) if name != ".nnstudent.lock"] == ["other"]
    assert names(tmp_path) == ["other"]


def test_who_may_wait_waits(tmp_path):
    child = held_by_another(tmp_path)
    began = time.monotonic()
    assert child.stdin is not None
    subprocess.Popen(
        [sys.executable, "-c", f"import os, time; time.sleep(1); os.kill({child.pid}, 9)"]
    )
    with writing(tmp_path, wait=True):
        assert time.monotonic() - began > 0.5
    child.wait()


@pytest.mark.skipif(os.name == "nt", reason="root's folders")
def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "x", Path("/proc/nnstudent")):
        with pytest.raises(OutputError, match="cannot be written"), writing(folder):
            pytest.fail("it cannot be held")


@pytest.mark.timeout(300)
def test_many_at_once(tmp_path):
    """Of 40 processes that ask for the folder at once, five times each, no two ever hold it."""
    out = tmp_path / "out"
    start = time.time() + 10
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(out), str(start)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(40)
    ]
    told = [child.communicate() for child in children]
    assert [error for _, error in told if error] == []
    words = "".join(words for words, _ in told).split()
    assert len(words) == 200
    assert words.count("held") >= 5
    assert (
        not out.exists() or names(out) == []
    )  # who made it may have been another than who was last in it
