"""A network's size is what its layers add up to, and is counted once."""

from __future__ import annotations

import pytest

pytest.importorskip("nnunetv2", reason="the extra [train] is not installed")

from nnstudent.training.design import describe
from nnstudent.training.recipe import Network

NETWORK = Network(
    (4, 8), ((1, 1, 1), (2, 2, 2)), encoder_convolutions=(1,), decoder_convolutions=(1,)
)
PATCH = (8, 8, 8)


def by_hand(classes: int) -> tuple[int, int]:
    """Parameters, and operations of one window of 8×8×8 voxels; its lower level has 4×4×4."""
    high, low = 8**3, 4**3
    # Kernel, channels in and out, voxels; two of each layer's parameters normalize.
    layers = [(27, 1, 4, high), (27, 4, 8, low), (27, 8, 4, high)]
    weights = sum(kernel * a * b + b + 2 * b for kernel, a, b, _ in layers)
    operations = sum(2 * kernel * a * b * voxels for kernel, a, b, voxels in layers)
    weights += 8 * 8 * 4 + 4  # upsampled by a transposed convolution of 2×2×2
    operations += 2 * 8 * 8 * 4 * low
    weights += 4 * classes + classes
    operations += 2 * 4 * classes * high
    return weights, operations


@pytest.mark.parametrize("classes", [2, 5])
def test_parameters_and_operations_are_those_of_the_layers(classes: int) -> None:
    weights, operations = by_hand(classes)
    parameters, gflop = describe.count(NETWORK, PATCH, classes=classes)
    assert parameters == weights
    assert gflop == pytest.approx(operations / 1e9)


def test_each_fold_asks_and_one_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    first = describe.count(NETWORK, list(PATCH), classes=3)
    monkeypatch.setattr(describe, "built_on_meta", lambda *_, **__: pytest.fail("built again"))
    assert describe.count(NETWORK, PATCH, classes=3) == first
