"""The cases that are shown."""

from __future__ import annotations

import pytest

from nnstudent.report.overlays import rank_names


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, {}),
        (1, {0: "only"}),
        (2, {0: "best", 1: "worst"}),
        (3, {0: "best", 1: "second best", 2: "worst"}),
        (4, {0: "best", 1: "second best", 2: "second worst", 3: "worst"}),
        (5, {0: "best", 1: "second best", 2: "median", 3: "second worst", 4: "worst"}),
        (8, {0: "best", 1: "second best", 4: "median", 6: "second worst", 7: "worst"}),
    ],
)
def test_the_cases_shown_are_the_best_the_median_and_the_worst(count, expected):
    assert rank_names(count) == expected
