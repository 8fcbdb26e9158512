"""What index remembers: a row a case, added as it comes."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from nnstudent.cohort.check import Facts, check_case
from nnstudent.cohort.check_cache import NAME, CheckCache
from nnstudent.cohort.sources.source import Entry
from nnstudent.taxonomy import LabelClass, Taxonomy, flare23
from tests.cohort.conftest import Files

TABLE = flare23()


def checked(files: Files, out: Path, *names: str) -> dict[str, tuple[Entry, Facts]]:
    found = {}
    for name in names:
        entry = Entry(name, files.ct(f"{name}.nii.gz"))
        found[name] = (entry, check_case(entry, taxonomy=TABLE, out=out))
    return found


def test_a_row_is_on_disk_as_soon_as_it_is_added(files: Files, tmp_path: Path) -> None:
    known = checked(files, tmp_path / "C", "a", "b")
    with CheckCache(tmp_path / "C", TABLE) as cache:
        for entry, facts in known.values():
            assert cache.find(entry) is None
            cache.add(entry, facts)
            last = (tmp_path / "C" / NAME).read_text().splitlines()[-1]
            assert json.loads(last)["id"] == entry.id
    cache = CheckCache(tmp_path / "C", TABLE)
    assert {name: cache.find(entry) for name, (entry, _) in known.items()} == {
        name: facts for name, (_, facts) in known.items()
    }


def test_another_file_or_label_table_is_checked_again(files: Files, tmp_path: Path) -> None:
    entry, facts = checked(files, tmp_path / "C", "a")["a"]
    with CheckCache(tmp_path / "C", TABLE) as cache:
        cache.add(entry, facts)
    other = Taxonomy("other", (LabelClass(1, "liver"),))
    assert CheckCache(tmp_path / "C", other).find(entry) is None
    files.ct("a.nii.gz")
    assert CheckCache(tmp_path / "C", TABLE).find(entry) is None


def test_a_torn_last_line_is_named_and_the_rows_before_it_count(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = checked(files, tmp_path / "C", "a", "b", "c")
    path = tmp_path / "C" / NAME
    with CheckCache(tmp_path / "C", TABLE) as cache:
        for entry, facts in list(known.values())[:2]:
            cache.add(entry, facts)
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING), CheckCache(tmp_path / "C", TABLE) as cache:
        assert "line 2: is incomplete" in caplog.text
        assert cache.find(known["a"][0]) is not None
        assert cache.find(known["b"][0]) is None
        cache.add(*known["c"])
    rows = [json.loads(line)["id"] for line in path.read_text().splitlines()]
    assert rows == ["a", "c"]


def test_lines_that_do_not_count_any_more_are_left_out(files: Files, tmp_path: Path) -> None:
    entry, facts = checked(files, tmp_path / "C", "a")["a"]
    for _ in range(3):
        with CheckCache(tmp_path / "C", TABLE) as cache:
            cache.add(entry, facts)
    assert len((tmp_path / "C" / NAME).read_text().splitlines()) == 1


@pytest.mark.parametrize("content", [b"[]\n", b"\xff\n", b"{\n", b'{"id": "a"}\n', b"null\n"])
def test_a_damaged_file_is_never_more_than_a_warning(
    files: Files, tmp_path: Path, content: bytes
) -> None:
    entry, facts = checked(files, tmp_path / "C", "a")["a"]
    (tmp_path / "C").mkdir(exist_ok=True)
    (tmp_path / "C" / NAME).write_bytes(content)
    with CheckCache(tmp_path / "C", TABLE) as cache:
        assert cache.find(entry) is None
        cache.add(entry, facts)
    assert CheckCache(tmp_path / "C", TABLE).find(entry) == facts
