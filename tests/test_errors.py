from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from nnstudent.errors import (
    Failure,
    GeometryError,
    InputError,
    MissingExtraError,
    NnStudentError,
    OutputError,
    one_line,
    quoted,
    require,
    require_regular_file,
)


def test_every_error_of_the_input_ends_the_command_with_2():
    for kind in (InputError, GeometryError, OutputError, MissingExtraError):
        assert issubclass(kind, NnStudentError)
        assert kind.exit_code == 2


@pytest.mark.parametrize("odd", ["\n", "\r\n", "\x1b[2J", "\u2028", "\x85", "\v", "\t", "\udce9"])
def test_an_error_is_one_line_that_can_be_written_whatever_it_quotes(odd):
    for kind in (NnStudentError, InputError, GeometryError, OutputError, MissingExtraError):
        error = kind(f"labels.json: class '{odd}' has no id;{odd}expected one")
        text = str(error)
        assert len(text.splitlines()) == 1
        assert text.isprintable()
        assert text.encode("utf-8").startswith(b"labels.json: class '")
        assert text == one_line(error) == quoted(error) == Failure("a", text).reason
        assert (
            text == Failure("a", f"labels.json: class '{odd}' has no id;{odd}expected one").reason
        )
        assert str(pickle.loads(pickle.dumps(error))) == text


def test_a_missing_extra_is_named():
    with pytest.raises(MissingExtraError, match=r"pip install 'nnstudent\[cluster\]'") as error:
        require("no_such_package.part", extra="cluster", why="the cluster")
    assert str(error.value).startswith("the cluster needs no_such_package,")


def test_an_installed_module_is_imported():
    assert require("json", extra="none", why="x").loads("1") == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_only_regular_files_are_read(tmp_path):
    (tmp_path / "file").write_text("")
    require_regular_file(tmp_path / "file", what="a test")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    cases = {
        "pipe": "is a pipe",
        "link": "is a pipe",
        ".": "is a folder",
        "none": "cannot be read",
        "a" * 300: "cannot be read",
    }
    for name, reason in cases.items():
        with pytest.raises(InputError, match=f"{reason}.*expected the file of a test"):
            require_regular_file(tmp_path / name, what="a test")
    for name in ("/dev/null", "/dev/zero"):
        with pytest.raises(InputError, match="is a device"):
            require_regular_file(Path(name), what="a test")
    with pytest.raises(InputError, match="null"):
        require_regular_file(tmp_path / "a\0b", what="a test")
