from __future__ import annotations

import pytest

from nnstudent.cohort.annotate import (
    describe_annotated,
    find_override,
    infer_annotated,
    parse_classes,
)
from nnstudent.errors import InputError
from nnstudent.taxonomy import LabelClass, Taxonomy, flare23
from tests.cohort.conftest import ORGANS

TABLE = flare23()


@pytest.mark.parametrize(
    ("words", "classes"),
    [
        (["liver", "Right Kidney"], {"liver", "right_kidney"}),
        (["organs"], set(ORGANS)),
        (["all"], {*ORGANS, "tumor"}),
        (["organs", "-esophagus", "tumor"], {*ORGANS, "tumor"} - {"esophagus"}),
        (["none"], set()),
        ([], set()),
    ],
)
def test_words_become_classes(words, classes):
    assert parse_classes(words, taxonomy=TABLE, where="x") == classes


def test_a_class_may_have_the_name_of_a_group():
    table = Taxonomy("t", (LabelClass(1, "organs"), LabelClass(2, "liver")))
    assert parse_classes(["organs"], taxonomy=table, where="x") == {"organs"}


def test_an_unknown_class_is_refused():
    with pytest.raises(
        InputError,
        match=r"case_1 \(label table flare23\): no class 'heart'; "
        "expected some of all, organs, none, liver",
    ):
        parse_classes(["heart"], taxonomy=TABLE, where="case_1")


def test_a_slip_is_answered_with_the_class() -> None:
    with pytest.raises(InputError, match="no class 'lever'; did you mean liver"):
        parse_classes(["lever"], taxonomy=TABLE, where="case_1")


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({*ORGANS, "tumor"}, "all 13 organs + tumor"),
        (set(ORGANS), "all 13 organs"),
        (set(ORGANS) - {"esophagus"}, "12 organs (not esophagus)"),
        ({"tumor"}, "tumor"),
        ({"spleen", "liver", "tumor"}, "liver, spleen + tumor"),
        (set(), "none"),
    ],
)
def test_a_description_of_annotated_classes(classes, words):
    assert describe_annotated(classes, taxonomy=TABLE) == words


def test_classes_that_occur_are_inferred():
    assert infer_annotated(["tumor", "liver"], taxonomy=TABLE) == {"liver", "tumor"}
    assert infer_annotated([], taxonomy=TABLE) == frozenset()


def test_the_closest_override_wins():
    overrides = {"*": ["none"], "a*": ["liver"], "ab": ["spleen"]}
    assert [find_override(id, overrides) for id in ("ab", "ac", "b")] == [
        ["spleen"],
        ["liver"],
        ["none"],
    ]
    assert find_override("a", {"b": ["liver"]}) is None
