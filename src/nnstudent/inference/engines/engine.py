"""What runs a network on one window, and choosing it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Protocol

from nnstudent.bundle.bundle import Member, Model, Network
from nnstudent.errors import InputError
from nnstudent.types import Float32Array

ENGINES = ("auto", "openvino", "torch")


class Engine(Protocol):
    """Runs one network on one window.

    Attributes:
        name: ``openvino`` or ``torch``.
        precision: Of the arithmetic: ``fp32``, ``bf16``, ``int8`` or, on a GPU, ``fp16``.
        restores_on: The device that scores are best carried back to the image's grid on, see
            :func:`~nnstudent.inference.grid.restore.restore`; None for the processor, without torch.
    """

    name: str
    precision: str
    restores_on: str | None

    def __call__(self, window: Float32Array) -> Float32Array:
        """Logits (class, z, y, x) of a window (z, y, x) of the network's patch size; valid until the next call."""


def make_engine(
    model: Model,
    network: Network,
    member: Member,
    *,
    engine: str = "auto",
    device: str = "cpu",
    precision: str = "fp32",
    threads: int,
) -> Engine:
    """An engine that is ready to run.

    Args:
        model: The model.
        network: One of its networks.
        member: One of that network's members.
        engine: ``openvino``, ``torch``, or ``auto``: torch where the device is CUDA, else OpenVINO.
        device: ``cpu``, ``cuda``, another that the engine knows, or ``auto`` for CUDA where torch finds a GPU and else the CPU.
        precision: See :func:`nnstudent.inference.engines.precision.choose_precision`; torch has ``auto`` and ``fp32`` only.
        threads: Processor threads to use.

    Raises:
        InputError: There is no such engine, device or precision, or the network does not load.
        MissingExtraError: The engine is not installed.
    """
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r}; expected one of {', '.join(ENGINES)}")
    if device == "auto":
        device = "cuda" if engine != "openvino" and _has_cuda() else "cpu"
    if engine == "torch" or (engine == "auto" and device.startswith("cuda")):
        from nnstudent.inference.engines.torch import (
            TorchEngine,  # each engine's library is loaded only when used
        )

        return TorchEngine(
            model, network, member, device=device, precision=precision, threads=threads
        )
    from nnstudent.inference.engines.openvino import OpenvinoEngine

    return OpenvinoEngine(
        model, network, member, device=device, precision=precision, threads=threads
    )


def mean_of_members(
    engines: Sequence[Callable[[Float32Array], Float32Array]],
) -> Callable[[Float32Array], Float32Array]:
    """An ensemble as one network: the mean of its members' logits of a window, as nnU-Net takes it of a whole image.

    Args:
        engines: At least one, each from a window (z, y, x) to logits (class, z, y, x).
    """
    first, *others = engines

    def mean(window: Float32Array) -> Float32Array:
        total = first(window).copy()
        for engine in others:
            total += engine(window)
        total /= len(engines)
        return total

    return mean if others else first


def _has_cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch  # slow to import; only looked at when asked for

    return bool(torch.cuda.is_available())
