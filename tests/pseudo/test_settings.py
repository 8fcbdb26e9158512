"""Which cases are labeled by which machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.cohort.cohort import Case
from nnstudent.errors import InputError
from nnstudent.pseudo.settings import LabelSettings


@given(count=st.integers(0, 20), parts=st.integers(1, 6))
def test_the_parts_are_all_cases_once(count, parts) -> None:
    cases = [Case(f"c{number}", Path(f"c{number}.nii.gz")) for number in range(count)]
    found = [
        case
        for number in range(1, parts + 1)
        for case in LabelSettings(part=(number, parts)).cases_of_part(cases)
    ]
    assert sorted(case.id for case in found) == sorted(case.id for case in cases)


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (1, 0), (-1, 3)])
def test_a_part_that_there_is_not_is_refused(part) -> None:
    with pytest.raises(InputError, match="expected I/N with 1 ≤ I ≤ N"):
        LabelSettings(part=part)


def test_only_one_of_several_has_a_name() -> None:
    assert (LabelSettings().part_name, LabelSettings(part=(2, 8)).part_name) == ("", "2 of 8")
