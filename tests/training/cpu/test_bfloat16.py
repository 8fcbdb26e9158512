"""What bfloat16 on a processor must not touch."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")
from torch import nn  # noqa: E402

from nnstudent.training.cpu import bfloat16  # noqa: E402

SMALL = [
    shape for shape in itertools.product((1, 2, 3, 5), repeat=3) if min(shape) < bfloat16.LEAST
]


def gradients(layer: nn.Module, x: torch.Tensor, *, bfloat16: bool) -> list[torch.Tensor]:
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        y = layer(x)
    return [y.detach(), *torch.autograd.grad(y.float().square().sum(), list(layer.parameters()))]


@pytest.mark.parametrize("stride", [1, 2])
def test_small_inputs_are_convolved_in_fp32_under_autocast(stride: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv3d(8, 16, 3, stride, 1)
    spared = nn.Conv3d(8, 16, 3, stride, 1)
    spared.load_state_dict(plain.state_dict())
    bfloat16.spare_small(spared)
    for shape in SMALL:
        x = torch.randn(1, 8, *shape)
        for ours, theirs in zip(
            gradients(spared, x, bfloat16=True), gradients(plain, x, bfloat16=False), strict=True
        ):
            assert torch.equal(ours, theirs), shape


def test_other_inputs_stay_in_bfloat16() -> None:
    layer = nn.Conv3d(4, 4, 3, padding=1)
    bfloat16.spare_small(layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, 4, 3, 3, 3)).dtype == torch.bfloat16
        assert layer(torch.randn(1, 4, 2, 3, 3)).dtype == torch.float32
        assert layer(torch.randn(1, 4, 2, 3, 3).bfloat16()).dtype == torch.float32
