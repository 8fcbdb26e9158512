from __future__ import annotations

import pytest

from nnstudent.taxonomy import flare23
from nnstudent.words import class_title, count, did_you_mean, duration, match_class, suggest_classes


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


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("liver", "liver"),
        ("Liver", "liver"),
        (" left kidney ", "left_kidney"),
        ("LEFT-KIDNEY", "left_kidney"),
        ("kidney_left", "left_kidney"),
        ("Inferior vena cava", "inferior_vena_cava"),
        ("kidney", None),
        ("left", None),
        ("", None),
        ("-", None),
    ],
)
def test_class_names_as_people_write_them(word: str, name: str | None) -> None:
    assert match_class(word, flare23().names) == name


def test_every_class_is_known_however_it_is_written() -> None:
    names = flare23().names
    for name in names:
        for written in (name.upper(), name.title(), class_title(name), name.replace("_", "-")):
            assert match_class(written, names) == name


def test_a_class_is_never_guessed_from_two() -> None:
    names = ("left_kidney", "kidney_left")
    assert match_class("left_kidney", names) == "left_kidney"
    assert match_class("Kidney Left", names) == "kidney_left"
    assert match_class("a b", ("a_b", "a-b")) is None


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("kidney", "; did you mean right_kidney or left_kidney?"),
        ("Kidneys", "; did you mean right_kidney or left_kidney?"),
        ("lever", "; did you mean liver?"),
        ("oesophagus", "; did you mean esophagus?"),
        ("heart", ""),
        ("", ""),
    ],
)
def test_the_classes_that_a_word_may_stand_for(word: str, hint: str) -> None:
    assert suggest_classes(word, flare23().names) == hint


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (5300, "88 min"),
        (5400, "1 h 30 min"),
        (7200, "2 h"),
        (11900, "3 h 20 min"),
        (3600 * 52, "2 days 4 h"),
        (3600 * 72, "3 days"),
    ],
)
def test_times_as_they_are_said(seconds: float, text: str) -> None:
    assert duration(seconds) == text
