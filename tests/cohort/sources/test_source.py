"""Ids of cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.cohort.cohort import Case
from nnstudent.cohort.sources.source import safe_id


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("FLARE23_0001", "FLARE23_0001"),
        ("my scan (2)", "my_scan_2"),
        ("../../etc/passwd", "etc_passwd"),
        ("-rf", "rf"),
        ("a\nb", "a_b"),
    ],
)
def test_ids_from_file_names(name, id):
    assert safe_id(name) == id


def test_ids_outside_ascii_stay_apart():
    names = ["患者一", "患者二", "Müller", "Möller", "", "x" * 300, "x" * 301]
    ids = [safe_id(name) for name in names]
    assert len(set(ids)) == len(names)
    for id in ids:
        assert Case(id, Path("a")).id == id
        assert len(id) < 150
    assert ids == [safe_id(name) for name in names]
