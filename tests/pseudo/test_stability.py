"""How much of the foreground changes between two label maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnstudent.pseudo.stability import changed_share


@given(
    old=arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 3)),
    new=arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 3)),
)
def test_the_change_is_a_share_of_the_foreground_in_either_map(old, new):
    classes = {"liver": 1, "kidney": 2}  # 3 counts as background
    share, by_class = changed_share(old, new, classes=classes)
    pairs = [
        (a if a < 3 else 0, b if b < 3 else 0)
        for a, b in zip(old.ravel(), new.ravel(), strict=True)
    ]
    either = [(a, b) for a, b in pairs if a or b]
    assert share == pytest.approx(sum(a != b for a, b in either) / max(1, len(either)))
    for name, id in classes.items():
        one = [(a, b) for a, b in pairs if id in (a, b)]
        assert by_class[name] == pytest.approx(sum(a != b for a, b in one) / max(1, len(one)))
    assert changed_share(new, old, classes=classes) == (share, by_class)
