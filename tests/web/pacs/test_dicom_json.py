"""Values and UIDs in DICOM JSON, whatever a PACS sends."""

from __future__ import annotations

import pytest

from nnstudent.web.pacs.dicom_json import is_uid, number, value, values


@pytest.mark.parametrize("text", ["1.2.840", "1", "0.0"])
def test_uids(text):
    assert is_uid(text)


@pytest.mark.parametrize("text", ["", "1..2", "1.2/..", "1." * 33, "1\n", "a"])
def test_no_uids(text):
    assert not is_uid(text)


@pytest.mark.parametrize("element", [None, 5, "1.2", [], {}, {"Value": "CT"}, {"Value": None}])
def test_a_malformed_element_has_no_values(element):
    row = {"00080061": element}
    assert values(row, "00080061") == []
    assert value(row, "00080061") is None


def test_values_are_those_of_the_element():
    row = {"00080061": {"vr": "CS", "Value": ["CT", "SEG"]}}
    assert values(row, "00080061") == ["CT", "SEG"]
    assert value(row, "00080061") == "CT"
    assert value(row, "00080060") is None


@pytest.mark.parametrize(
    ("given", "expected"), [(5, 5), ("12", 12), (None, None), ("x", None), ([], None)]
)
def test_a_number_is_one_or_none(given, expected):
    assert number(given) == expected
    assert number(float("inf")) is None
