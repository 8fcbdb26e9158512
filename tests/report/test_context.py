"""What the report says of a run, in words."""

from __future__ import annotations

import pytest

from nnstudent.report.context import describe_annotated
from nnstudent.taxonomy import flare23

TABLE = flare23()


@pytest.mark.parametrize(
    ("annotated", "text"),
    [
        (frozenset(), "nothing"),
        (frozenset(TABLE.names), "all 13 organs and tumor"),
        (frozenset(TABLE.organs) - {"gallbladder"}, "all organs but gallbladder"),
        (frozenset({"liver", "tumor"}), "liver and tumor"),
    ],
)
def test_annotated_classes_are_described_by_what_is_shorter(annotated, text) -> None:
    assert describe_annotated(annotated, TABLE) == text
