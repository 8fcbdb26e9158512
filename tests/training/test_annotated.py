"""What partially annotated cases leave open."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nnstudent.training.annotated import PartialLabels, possible_classes, volumes_if_annotated
from nnstudent.training.plans import make_dataset_json
from tests.training.conftest import TABLE


def test_what_a_label_leaves_open() -> None:
    table = possible_classes({1, 4}, channels=6, lesions={4, 5})
    assert [set(np.flatnonzero(row)) for row in table] == [{0, 2, 3, 5}, {1, 5}, {2}, {3}, {4}, {5}]
    assert np.array_equal(possible_classes({1, 2, 3}, channels=4, lesions={3}), np.eye(4))


def test_partial_labels_travel_in_dataset_json() -> None:
    made = make_dataset_json(
        TABLE, ("left_ball", "right_ball", "spot"), cases=3, annotated={"p": (1,), "q": (1, 2)}
    )
    read = PartialLabels.read(json.loads(json.dumps(made)))
    assert set(read.possible) == {"p", "q"}
    whole, p, q = read.possible_in(["full", "p", "q"])
    assert np.array_equal(whole, np.eye(4))
    assert [set(np.flatnonzero(row)) for row in p] == [{0, 2, 3}, {1, 3}, {2}, {3}]
    assert [set(np.flatnonzero(row)) for row in q] == [{0, 3}, {1, 3}, {2, 3}, {3}]
    assert not PartialLabels.read(make_dataset_json(TABLE, ("spot",), cases=1))
    assert "annotated" not in make_dataset_json(TABLE, ("spot",), cases=1)["nnstudent"]


@pytest.mark.parametrize(
    ("whole", "partly", "share"),
    [(8, 16, 0.5), (1, 2, 0.5), (1, 16, 0.2), (2, 2, None), (0, 3, None), (3, 0, None)],
)
def test_half_of_the_windows_are_from_complete_cases(
    whole: int, partly: int, share: float | None
) -> None:
    labels = PartialLabels({f"p{i}": np.eye(2, dtype=np.bool_) for i in range(partly)}, 2)
    cases = [f"p{i}" for i in range(partly)] + [f"w{i}" for i in range(whole)]
    drawn = labels.draw(cases)
    if share is None:
        assert drawn is None
    else:
        assert drawn is not None
        assert sum(drawn) == pytest.approx(1)
        assert sum(drawn[partly:]) == pytest.approx(share)


@pytest.mark.parametrize(
    ("true", "others", "asked", "share"),
    [
        (4, 68, 0.25, 0.25),
        (1, 3, 0.25, None),
        (3, 3, 0.25, None),
        (2, 8, 1.0, 1.0),
        (0, 5, 0.5, None),
    ],
)
def test_true_cases_are_drawn_as_often_as_a_recipe_asks(
    true: int, others: int, asked: float, share: float | None
) -> None:
    cases = [f"t{i}" for i in range(true)] + [f"o{i}" for i in range(others)]
    known = frozenset(case for case in cases if case.startswith("t"))
    drawn = PartialLabels({}, 2, true=known).draw(cases, true_share=asked)
    if share is None:
        assert drawn is None
    else:
        assert drawn is not None
        assert sum(drawn) == pytest.approx(1)
        assert sum(drawn[:true]) == pytest.approx(share)
        assert len(set(drawn[:true])) == 1


def test_the_true_cases_are_in_the_file_that_the_trainer_reads() -> None:
    known = make_dataset_json(TABLE, ("spot",), cases=2, true={"b", "a"})
    assert PartialLabels.read(known).true == {"a", "b"}
    assert "true" not in make_dataset_json(TABLE, ("spot",), cases=2)["nnstudent"]


def test_a_class_that_few_looked_for_is_not_rare() -> None:
    volumes = [(100.0, 10.0, 4.0), (100.0, 10.0, 0.0), (200.0, 20.0, 0.0)]
    assert volumes_if_annotated(volumes, [{1, 2}, {1}, {1}]) == pytest.approx((400, 40, 16))
    assert volumes_if_annotated(volumes, [{1, 2}] * 3) == pytest.approx((400, 40, 4))
