"""The mean over mirror images."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest

from nnstudent.inference.engines.mirror import with_mirroring

WINDOW = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)


def sees_the_place(window: np.ndarray) -> np.ndarray:
    """A network whose two logits depend on where a voxel lies in the window."""
    place = np.arange(window.size, dtype=np.float32).reshape(window.shape)
    return np.stack([window * place, window - place])


@pytest.mark.parametrize("axes", [(), (0,), (1, 2), (0, 1, 2)])
def test_each_subset_of_the_axes_is_mirrored_once_and_back(axes) -> None:
    subsets = list(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))
    expected = np.mean(
        [
            np.flip(sees_the_place(np.flip(WINDOW, chosen)), [axis + 1 for axis in chosen])
            for chosen in subsets
        ],
        axis=0,
    )
    calls = []

    def network(window: np.ndarray) -> np.ndarray:
        calls.append(window.flags.c_contiguous)
        return sees_the_place(window)

    np.testing.assert_allclose(with_mirroring(network, axes)(WINDOW), expected, rtol=1e-5)
    assert calls == [True] * 2 ** len(axes)


def test_the_networks_own_logits_are_left_alone() -> None:
    kept = sees_the_place(WINDOW)
    before = kept.copy()
    with_mirroring(lambda window: kept, (0,))(WINDOW)
    np.testing.assert_array_equal(kept, before)
