from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.cohort.annotate import classes_from_words, in_words, inferred, overriding
from nnstudent.cohort.check import Facts, stamp
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
def test_words_for_classes(words, classes):
    assert classes_from_words(words, taxonomy=TABLE, where="x") == classes


def test_a_class_may_be_called_like_a_group():
    table = Taxonomy("t", (LabelClass(1, "organs"), LabelClass(2, "liver")))
    assert classes_from_words(["organs"], taxonomy=table, where="x") == {"organs"}


def test_a_word_for_no_class():
    with pytest.raises(
        InputError,
        match="case_1: no class 'heart' in label table flare23; expected all, organs, none, or liver",
    ):
        classes_from_words(["heart"], taxonomy=TABLE, where="case_1")


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
def test_classes_in_words(classes, words):
    assert in_words(classes, taxonomy=TABLE) == words


def test_inferred_is_what_occurs():
    assert inferred(["tumor", "liver"], taxonomy=TABLE) == {"liver", "tumor"}
    assert inferred([], taxonomy=TABLE) == frozenset()


def test_the_closest_override_wins():
    overrides = {"*": ["none"], "a*": ["liver"], "ab": ["spleen"]}
    assert [overriding(id, overrides) for id in ("ab", "ac", "b")] == [
        ["spleen"],
        ["liver"],
        ["none"],
    ]
    assert overriding("a", {"b": ["liver"]}) is None


def test_facts_as_plain_data():
    facts = Facts(
        Path("a"), None, (1, 2, 3), (0.5, 0.5, 2.0), "LPS", (-1000.0, 900.0), ("liver",), ("odd",)
    )
    assert Facts.from_dict(facts.to_dict()) == facts
    assert facts.geometry == "1×2×3 at 0.50×0.50×2.00 mm, LPS"


def test_stamps_tell_changes(tmp_path):
    assert stamp(tmp_path / "none") is None
    (tmp_path / "s").mkdir()
    before = stamp(tmp_path / "s")
    (tmp_path / "s" / "1.dcm").write_text("x")
    assert stamp(tmp_path / "s") != before
