"""Quicker layers give the numbers of those that they stand for."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs the extra [train]")
from torch import nn  # noqa: E402

from nnstudent.training.cpu import bfloat16, fast_layers  # noqa: E402

LAST = torch.channels_last_3d


def step(layer: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> list[torch.Tensor]:
    """Output, and gradients of the input and of all parameters, in double precision."""
    x = x.detach().requires_grad_()
    y = layer(x)
    grads = torch.autograd.grad(y, [x, *layer.parameters()], grad)
    return [values.detach().double() for values in (y, *grads)]


def same(layer: nn.Module, shape: tuple[int, ...], tolerance: float) -> None:
    quick = copy.deepcopy(layer).to(memory_format=LAST)
    fast_layers.quicken(quick)
    assert quick.forward.__func__ is not type(quick).forward, "nothing was replaced"
    assert quick.state_dict().keys() == layer.state_dict().keys()
    x = torch.randn(shape)
    grad = torch.randn_like(layer(x))
    expected = step(layer.double(), x.double(), grad.double())
    for layout in (torch.contiguous_format, LAST):  # a gradient may come in either
        found = step(quick, x.contiguous(memory_format=LAST), grad.contiguous(memory_format=layout))
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.allclose(
                ours, theirs, atol=tolerance * max(1.0, float(theirs.abs().max())), rtol=0
            )


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(1, 2),
    channels=st.integers(1, 9),
    out=st.integers(1, 9),
    size=st.tuples(*[st.integers(1, 6)] * 3),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_convolution_is_that_of_torch(
    samples: int, channels: int, out: int, size: tuple[int, int, int], bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    same(nn.Conv3d(channels, out, 3, padding=1, bias=bias), (samples, channels, *size), 2e-5)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("affine", [True, False])
def test_instance_normalisation_is_that_of_torch(samples: int, affine: bool) -> None:
    torch.manual_seed(3)
    same(nn.InstanceNorm3d(5, affine=affine), (samples, 5, 7, 9, 8), 2e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv3d(2, 2, 1),
        nn.Conv3d(2, 2, 3, padding=1, stride=2),
        nn.Conv3d(2, 2, 3),
        nn.Conv3d(2, 2, 3, padding=1, groups=2),
        nn.Conv3d(2, 2, 3, padding=2, dilation=2),
        nn.Conv3d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.InstanceNorm3d(2, track_running_stats=True),
        nn.BatchNorm3d(2),
    ],
)
def test_other_layers_stay_as_they_are(layer: nn.Module) -> None:
    before = layer.forward
    fast_layers.quicken(layer)
    assert layer.forward == before


def test_the_input_of_a_network_needs_no_gradient() -> None:
    layer = nn.Conv3d(1, 3, 3, padding=1)
    fast_layers.quicken(layer)
    layer(torch.randn(1, 1, 4, 4, 4)).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().sum() > 0


def test_normalisation_in_bfloat16_keeps_precision_and_layout() -> None:
    layer = nn.InstanceNorm3d(6, affine=True)
    fast_layers.keep_layout(layer)
    x = torch.randn(1, 6, 5, 7, 8).contiguous(memory_format=LAST).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=LAST)
    expected = nn.functional.instance_norm(x.float(), weight=layer.weight, bias=layer.bias)
    assert torch.allclose(y.float(), expected, atol=0.03)


def test_gradients_in_bfloat16_point_where_those_of_fp32_do() -> None:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    from nnstudent.training.plans import architecture
    from nnstudent.training.recipe import Network

    how = architecture(Network((8, 16, 24), ((1, 1, 1), (2, 2, 2), (2, 2, 2))))
    names = how["network_class_name"], how["arch_kwargs"], how["_kw_requires_import"]
    torch.manual_seed(1)
    network = get_network_from_plans(*names, 1, 4, deep_supervision=False)
    quick = copy.deepcopy(network).to(memory_format=LAST)
    bfloat16.spare_small(quick)
    fast_layers.keep_layout(quick)
    x, target = torch.randn(1, 1, 12, 16, 16), torch.randint(0, 4, (1, 12, 16, 16))

    def gradient(of: nn.Module, *, bfloat16: bool) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            y = of(x.contiguous(memory_format=LAST) if bfloat16 else x)
        loss = nn.functional.cross_entropy(y.float(), target)
        # heads of deep supervision are there and do not speak
        grads = torch.autograd.grad(loss, list(of.parameters()), allow_unused=True)
        return torch.cat([part.flatten().double() for part in grads if part is not None])

    ours, exact = gradient(quick, bfloat16=True), gradient(network, bfloat16=False)
    theirs = gradient(network, bfloat16=True)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(ours, exact, dim=0) > 0.97
    assert cosine(ours, exact, dim=0) > cosine(theirs, exact, dim=0) - 0.02
