from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nnstudent.data_files import (
    parse_csv,
    parse_json,
    parse_toml,
    read_json,
    read_json_lines,
    read_json_table,
    read_text,
    read_toml,
)
from nnstudent.errors import InputError

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=10,
)


HOSTILE = {
    "nested lists": b"[" * 100_000,
    "nested, closed": b"[" * 1000 + b"]" * 1000,
    "a little too deep": b"[" * 70 + b"]" * 70,
    "nested tables": b'{"a":' * 100_000,
    "a number of 5,000 digits": b"9" * 5000,
    "a number of 20 digits": b"1" * 20,
    "a large float": b"1e999",
    "NaN": b"NaN",
    "infinity": b"[-Infinity]",
    "half a surrogate pair": b'"\\ud800"',
    "half a surrogate pair in a key": b'{"\\udfff": 1}',
    "the same key twice": b'{"a": 1, "a": 2}',
    "the same key twice, below": b'[{"b": {"a": 1, "a": 1}}]',
    "UTF-16": "{}".encode("utf-16"),
    "Latin-1": "{\"a\": \"é\"}".encode("latin-1"),
    "nothing": b"",
    "NUL": b"\0" * 100,
    "two values": b"{} {}",
}  # fmt: skip


def write(folder: Path, content: bytes) -> Path:
    path = folder / "file.txt"
    path.write_bytes(content)
    return path


def refused(call: Callable[[], Any], path: Path) -> str:
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    assert path.name in text
    text.encode("utf-8")
    return text


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_is_one_line_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    refused(lambda: read_json(path, what="a cohort"), path)


@pytest.mark.parametrize(
    "content",
    [
        b"a = " + b"[" * 100_000,
        b"a = " + b"9" * 5000,
        b"a = nan",
        b"a = [inf]",
        b"a = 99999999999999999999",
        b".".join([b"a"] * 200) + b" = 1",
        b"\xff = 1",
        b"a = 1\na = 2",
        b"a = \x00",
        b'a = "\\ud800"',
    ],
)
def test_hostile_toml_is_one_line_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    refused(lambda: read_toml(path, what="a preset"), path)


def test_files_that_are_too_large_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, b'"' + b"x" * 1000 + b'"')
    assert "is larger than" in refused(lambda: read_json(path, what="a lock", most=1000), path)
    assert read_json(path, what="a lock", most=1002) == "x" * 1000


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices_never_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "zero", "none"):
        for read in (read_text, read_json, read_toml, read_json_table):
            refused(
                lambda read=read, name=name: read(tmp_path / name, what="a cohort"), tmp_path / name
            )


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert read_json(write(tmp_path, b'\xef\xbb\xbf{"a": 1}'), what="x") == {"a": 1}


def test_file_names_that_are_not_utf8_come_back() -> None:
    assert parse_json('"a\\udcff"', where="w", what="x") == "a\udcff"


@given(plain)
def test_plain_data_comes_back(data: Any) -> None:
    assert parse_json(json.dumps(data), where="w", what="x") == data


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300) | plain.map(lambda data: json.dumps(data).encode()))
@example(b'{"a": NaN}')
def test_any_bytes_are_a_value_or_refused(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    for read in (
        lambda: read_json(path, what="x"),
        lambda: read_toml(path, what="x"),
        lambda: list(read_json_lines(path, what="x")),
        lambda: list(parse_csv(read_text(path, what="x"), where=str(path))[1]),
    ):
        try:
            read()
        except InputError as error:
            one_line = "\n" not in str(error) and path.name in str(error)
        else:
            one_line = True
        assert one_line


@given(st.text(max_size=300))
def test_any_text_is_toml_or_csv_or_refused(text: str) -> None:
    for read in (
        lambda: parse_toml(text, where="w", what="x"),
        lambda: list(parse_csv(text, where="w", delimiter=";")[1]),
    ):
        try:
            read()
        except InputError as error:
            assert str(error).startswith("w")  # noqa: PT017  # both ways are right


def test_reading_needs_no_deep_stack() -> None:
    """The C stack of a thread is small; a file must not bring the process down."""
    code = (
        "import threading, nnstudent.data_files as s\n"
        "def read():\n"
        "    for text in ('[' * 10**6, '{\"a\":' * 10**6, '[' * 900 + ']' * 900):\n"
        "        try: s.parse_json(text, where='w', what='x')\n"
        "        except s.InputError: pass\n"
        "        else: raise SystemExit(3)\n"
        "threading.stack_size(256 * 1024); t = threading.Thread(target=read)\n"
        "t.start(); t.join(); print('whole')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "whole"), done.stderr[-500:]


def test_csv_rows_are_named_by_their_line() -> None:
    columns, rows = parse_csv('Image, Label ,\na,"b\nc",\n\nd\n', where="list.csv")
    assert columns == ["image", "label", ""]
    assert list(rows) == [
        ("list.csv, line 3", {"image": "a", "label": "b\nc"}),
        ("list.csv, line 4", {}),
        ("list.csv, line 5", {"image": "d"}),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,image\n", "column 'image' occurs twice"),
        ("image\na,b\n", "line 2: field 2 is under no column"),
        ('image\n"a\n', "line 2: not valid CSV"),
        ('image\n"a"b\n', "line 2: not valid CSV"),
        ("image\n" + "x" * 120_000 + "\n", "longer than 100,000 characters"),
        ("image\n" + "x" * 200_000 + "\n", "not valid CSV"),
        ("x" * 200_000, "the header is not CSV"),
    ],
)
def test_csv_that_is_wrong_names_the_line(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        list(parse_csv(text, where="list.csv")[1])


def test_lines_of_json_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"a": 1}\r\n\n{"a": 2}\n')
    assert [row for _, row in read_json_lines(path, what="a ledger")] == [{"a": 1}, {"a": 2}]
    for bad in (b'{"a": 1}\n[]\n', b'{"a": 1}\n{\n', b'{"a": 1}\nnull'):
        path = write(tmp_path, bad)
        assert "line 2" in refused(
            lambda path=path: list(read_json_lines(path, what="a ledger")), path
        )
