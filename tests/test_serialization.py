from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given

from nnstudent.errors import InputError
from nnstudent.serialization import Record, from_plain, to_plain
from tests.test_data_files import plain as plain_data


@dataclass(frozen=True)
class Inner:
    share: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    name: str
    size: tuple[int, int, int]
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    table: Mapping[str, float] | None = None
    flag: bool = False


def test_a_dataclass_comes_back() -> None:
    value = Outer("x", (1, 2, 3), Inner(0.5), (Inner(1.0, "b"),), {"a": 1.0}, flag=True)
    assert from_plain(Outer, json.loads(json.dumps(to_plain(value))), where="file") == value


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": 3}, "file.name = 3; expected text"),
        ({"size": [1, 2]}, "file.size = "),
        ({"size": [1, 2, True]}, "file.size[2] = True; expected a whole number"),
        ({"size": [1, 2, 3.5]}, "expected a whole number"),
        ({"inner": {"share": "x"}}, "file.inner.share = 'x'; expected a number"),
        ({"inner": {"share": 1, "kind": 1}}, "expected one of a, b"),
        ({"inner": {"kind": "a"}}, "file.inner: share is missing"),
        ({"many": {}}, "file.many = {}; expected a list"),
        ({"table": {"a": "b"}}, "file.table.a = 'b'; expected a number"),
        ({"table": []}, "expected a table"),
        ({"flag": 1}, "expected true or false"),
        ({"surprise": 1}, "file: unknown key 'surprise'"),
        ({"name": ["x" * 10_000]}, "..."),
        ({"inner": {"share": 10**400}}, "expected a number"),
    ],
)
def test_values_of_another_type_are_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        from_plain(Outer, {"name": "x", "size": [1, 2, 3]} | change, where="file")
    assert says in str(caught.value)
    assert len(str(caught.value)) < 250


@given(plain_data)
def test_any_plain_data_is_the_type_or_refused(data: Any) -> None:
    for kind in (Outer, Inner, tuple[int, ...], dict[str, Inner], str | None, Literal["a"], float):
        try:
            from_plain(kind, data, where="file")
        except InputError as error:
            assert str(error).startswith("file")  # noqa: PT017  # both ways are right


def test_a_record_is_asked_by_type() -> None:
    record = Record({"id": "a", "rows": [{"n": 1}, 3]}, "cohort.json")
    assert record.get("id", str) == "a"
    assert record.get("none", int, 7) == 7
    for ask, says in (
        (lambda: record.get("id", int), "cohort.json: id = 'a'; expected a whole number"),
        (lambda: record.get("none", int), "cohort.json: none is missing"),
        (
            lambda: record.rows("rows"),
            "cohort.json: rows[1]: holds a whole number; expected a table",
        ),
        (lambda: Record([], "cohort.json"), "cohort.json: holds a list; expected a table"),
    ):
        with pytest.raises(InputError) as caught:
            ask()
        assert str(caught.value) == says
