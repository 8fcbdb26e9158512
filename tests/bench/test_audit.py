"""A tiny version of the benchmark: a tenth of a cohort's labels made wrong is found."""

from __future__ import annotations

import numpy as np
import pytest

from bench.audit import KINDS, Draws, average_precision, make_wrong
from nnstudent.taxonomy import flare23
from tests.labels.torsos import torso, write_torsos


def test_average_precision_counts_as_information_retrieval_does():
    assert average_precision(["a", "b", "c", "d"], {"a", "b"}) == 1
    assert average_precision(["c", "a", "d", "b"], {"a", "b"}) == (1 / 2 + 2 / 4) / 2
    assert average_precision(["c", "d", "a"], {"a"}) == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_what_it_says(kind):
    _, labels = torso(1)
    wrong, name = make_wrong(labels, kind, flare23(), np.random.default_rng(2))
    changed = np.unique(np.stack([wrong.array, labels.array])[:, wrong.array != labels.array])
    assert len(changed) >= 2
    if kind not in ("sides", "exchanged", "shifted"):
        assert set(changed) == {0, flare23()[name].id}


def test_wrong_labels_are_ranked_first(tmp_path):
    draws = Draws(write_torsos(tmp_path, 20))
    chance = np.random.default_rng(5)
    precisions = []
    for _ in range(6):
        ranked, wrong = draws.draw(chance)
        assert len(wrong) == 2
        precisions.append(average_precision(ranked, set(wrong)))
    assert np.mean(precisions) >= 0.9, precisions
