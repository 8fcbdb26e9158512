"""The ensemble on a torch device gives what the one in numpy does."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.pseudo.device_ensemble import combine_on_device
from nnstudent.pseudo.ensemble import DecisionRule, combine_folds

torch = pytest.importorskip("torch")
SHAPE = (17, 9, 11)  # several slabs, the last one smaller


def logits(folds: int, channels: int) -> list[np.ndarray]:
    chance = np.random.default_rng(8)
    common = chance.normal(size=(channels, *SHAPE)) * 3
    return [(common + chance.normal(size=common.shape)).astype(np.float32) for _ in range(folds)]


@pytest.mark.parametrize("folds", [1, 2, 5])
@pytest.mark.parametrize("decision", ["argmax", "dice"])
@pytest.mark.parametrize("labels", [(0, 1, 2, 7), (0, 3, 3, 0)])
def test_it_is_the_ensemble_in_numpy(
    folds: int, decision: DecisionRule, labels: tuple[int, ...]
) -> None:
    given = logits(folds, len(labels))
    expected = combine_folds(
        (np.exp(item) / np.exp(item).sum(axis=0) for item in given),
        labels,
        lesions=[7],
        decision=decision,
    )
    found = combine_on_device(
        (torch.from_numpy(item) for item in given), labels, lesions=[7], decision=decision
    )
    np.testing.assert_array_equal(found.lesions, expected.lesions)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-4, atol=1e-6)
    assert found.folds == expected.folds
    assert found.agreement == pytest.approx(expected.agreement, abs=1e-6)


def test_another_number_of_channels_and_no_fold_are_refused() -> None:
    with pytest.raises(InputError, match="gives 4 channels"):
        combine_on_device([torch.zeros(4, *SHAPE)], (0, 1))
    with pytest.raises(InputError, match="without folds"):
        combine_on_device([], (0, 1))
