from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnstudent.errors import InputError
from nnstudent.pseudo.ensemble import (
    MIN_THRESHOLD,
    class_confidence,
    combine_folds,
    dice_weights,
    fold_agreement,
)

maps = hnp.arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 3))


def dsc(a, b) -> float:
    whole = a.sum() + b.sum()
    return 1.0 if whole == 0 else 2 * (a & b).sum() / whole


@given(members=st.lists(maps, min_size=2, max_size=4))
def test_agreement_is_the_mean_dsc_over_pairs(members):
    found = fold_agreement(members)
    assert set(found) == {int(id) for member in members for id in np.unique(member)} - {0}
    for id, value in found.items():
        pairs = [dsc(a == id, b == id) for i, a in enumerate(members) for b in members[i + 1 :]]
        assert value == pytest.approx(np.mean(pairs))


@given(member=maps)
def test_a_map_agrees_with_itself_and_alone_says_nothing(member):
    assert all(value == 1.0 for value in fold_agreement([member, member]).values())
    assert fold_agreement([member]) == {}


def softmax(logits):
    power = np.exp(logits - logits.max(0))
    return (power / power.sum(0)).astype(np.float32)


def test_the_folds_mean_and_agreement():
    rng = np.random.default_rng(0)
    members = [softmax(rng.normal(size=(3, 4, 5, 6)) * 3) for _ in range(3)]
    found = combine_folds(iter(members), labels=(0, 5, 9))
    mean = np.mean(members, axis=0)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-5)
    assert found.folds == 3
    assert found.agreement == fold_agreement(
        [np.array([0, 5, 9], np.uint8)[member.argmax(0)] for member in members]
    )


def test_folds_agree_on_what_each_would_have_said_by_the_same_rule():
    thin = np.full((1, 1, 40), 0.01, np.float32)
    thin[..., :20] = 0.4  # no fold gives it the majority, each would give it just these voxels
    members = [np.stack([1 - thin, thin])] * 3
    assert combine_folds(members, (0, 5)).agreement == {}
    assert combine_folds(members, (0, 5), decision="dice").agreement == {5: 1.0}


def test_confidence_is_that_of_the_labels_given():
    rng = np.random.default_rng(0)
    mean = softmax(rng.normal(size=(4, 4, 5, 6)) * 3)
    best = rng.integers(0, 3, (4, 5, 6))  # whatever decided; nothing was given the last channel
    found = class_confidence(mean, best, labels=(0, 5, 5, 9))
    given = np.where(best == 1, mean[1], mean[2])
    assert found == {5: pytest.approx(given[best > 0].mean(), rel=1e-5)}


def test_channels_that_share_a_label_are_one_class():
    scores = softmax(np.random.default_rng(1).normal(size=(3, 4, 5, 6)) * 3)
    found = combine_folds(
        [scores, scores[[0, 2, 1]]], labels=(0, 1, 1)
    )  # the folds swap two channels that stand for the same class
    assert found.agreement == {1: 1.0}


def test_what_is_no_ensemble_is_refused():
    with pytest.raises(InputError, match="without folds"):
        combine_folds([], labels=(0, 1))
    with pytest.raises(InputError, match="gives 3 channels"):
        combine_folds([np.zeros((3, 1, 1, 1), np.float32)], labels=(0, 1))


@given(values=hnp.arrays(np.float32, (2, 2, 3), elements=st.floats(0.015625, 1, width=32)))
def test_the_weighted_label_has_the_best_expected_dice(values):
    mean = np.stack([1 - values, values])
    weights = dice_weights(mean, (0, 7))
    assert weights[0] == 1
    assert weights[1] >= 1
    chosen = (mean * weights[:, None, None, None]).argmax(0) == 1
    total = values.sum()
    ranked = np.sort(values.ravel())[::-1]

    def dice(inside) -> float:
        return 2 * inside.sum() / (len(inside) + total)

    best = max(dice(ranked[:k]) for k in range(1, ranked.size + 1))
    if best / 2 >= MIN_THRESHOLD:
        assert dice(values[chosen]) == pytest.approx(best, abs=1e-4)
    else:
        assert (values[chosen] >= MIN_THRESHOLD - 1e-6).all()


def test_folds_that_agree_on_an_organ_but_not_on_its_voxels_keep_its_volume():
    fold = np.zeros((3, 1, 1, 60), np.float32)  # each fold finds three voxels, one of them alone
    fold[0, ..., 10:13] = fold[1, ..., 11:14] = fold[2, ..., 12:15] = 0.9
    mean = np.stack([1 - fold.mean(0), fold.mean(0)])
    assert (mean.argmax(0) == 1).sum() == 3
    assert ((mean * dice_weights(mean, (0, 1))[:, None, None, None]).argmax(0) == 1).sum() >= 3
    thin = np.zeros((3, 1, 1, 60), np.float32)
    thin[0, ..., 10:12] = thin[1, ..., 11:13] = thin[2, ..., 9:11] = 0.7
    mean = np.stack([1 - thin.mean(0), thin.mean(0)])
    assert (mean.argmax(0) == 1).sum() == 0
    assert ((mean * dice_weights(mean, (0, 1))[:, None, None, None]).argmax(0) == 1).sum() == 2


def test_what_is_nowhere_probable_is_not_found():
    mean = np.stack([np.full((2, 3, 4), 0.98, np.float32), np.full((2, 3, 4), 0.02, np.float32)])
    assert not (mean * dice_weights(mean, (0, 1))[:, None, None, None]).argmax(0).any()
    assert (dice_weights(mean[:, :0], (0, 1)) == 1).all()


def test_channels_that_share_a_label_share_its_threshold():
    mean = np.stack(
        [np.full((1, 1, 4), 0.5), np.full((1, 1, 4), 0.25), np.full((1, 1, 4), 0.25)]
    ).astype(np.float32)
    weights = dice_weights(mean, (0, 1, 1))
    assert weights[1] == weights[2] > 1
