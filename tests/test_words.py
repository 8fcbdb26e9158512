from __future__ import annotations

import pytest

from nnstudent.words import class_title, count, did_you_mean


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 cases"), (1, "1 case"), (2, "2 cases"), (11, "11 cases")]
)
def test_plurals_agree(number: int, text: str) -> None:
    assert count(number, "case") == text


def test_an_irregular_plural() -> None:
    assert [count(n, "class", plural="classes") for n in (1, 2)] == ["1 class", "2 classes"]


def test_class_names_are_read_without_underscores() -> None:
    assert class_title("left_adrenal_gland") == "left adrenal gland"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("segmnet", "; did you mean segment?"),
        ("Segment", "; did you mean segment?"),
        ("evalute", "; did you mean evaluate?"),
        ("dance", ""),
        ("", ""),
    ],
)
def test_the_closest_known_word(word: str, hint: str) -> None:
    assert did_you_mean(word, ("segment", "run", "evaluate")) == hint
