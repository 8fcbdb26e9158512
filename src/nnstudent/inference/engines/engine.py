"""The interface of an engine, which runs a network on one window, and the choice of one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Protocol

from nnstudent.bundle.bundle import Member, Model, Network
from nnstudent.choices import ENGINES
from nnstudent.errors import InputError
from nnstudent.inference.engines.head import Head
from nnstudent.types import Float32Array


class Engine(Protocol):
    """Runs one network on one window.

    Attributes:
        name: ``openvino`` or ``torch``.
        precision: Precision of its arithmetic: ``fp32``, ``bf16``, ``int8`` or, on a GPU, ``fp16``.
        restores_on: The torch device that restores scores to the image's grid, see
            :func:`~nnstudent.inference.grid.restore.restore`; None for the processor without torch.
        head: The network's last layer, if it is better run after windows are summed; else None.
    """

    name: str
    precision: str
    restores_on: str | None
    head: Head | None

    def __call__(self, window: Float32Array) -> Float32Array:
        """Logits (class, z, y, x) of a window (z, y, x) of one patch; valid until the next call."""

    def features(self, window: Float32Array) -> Float32Array:
        """The input of ``head``, (feature, z, y, x), or the logits if there is none."""

    def release(self) -> None:
        """Give back the memory that a window took; the next call takes it again."""


def make_engine(
    model: Model,
    network: Network,
    *,
    member: Member,
    engine: str = "auto",
    device: str = "cpu",
    precision: str = "fp32",
    threads: int,
) -> Engine:
    """Load a member of a network into an engine.

    Args:
        model: The model.
        network: One of its networks.
        member: One of that network's members.
        engine: ``openvino``, ``torch``, or ``auto``: torch on CUDA, OpenVINO on other devices.
        device: ``cpu``; ``cuda``, which is torch's; OpenVINO's ``gpu`` (Intel's), ``npu`` and so
            on; or ``auto``: CUDA where torch finds a GPU, otherwise the CPU.
        precision: See :func:`nnstudent.inference.engines.precision.choose_precision`; torch knows
            only ``auto`` and ``fp32``.
        threads: Processor threads to use.

    Raises:
        InputError: The engine, device or precision does not exist, or the network does not load.
        MissingExtraError: The engine is not installed.
    """
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r}; expected one of {', '.join(ENGINES)}")
    if device == "auto":
        device = "cuda" if engine != "openvino" and _has_cuda() else "cpu"
    if engine == "torch" or (engine == "auto" and device.startswith("cuda")):
        # Each engine's library is imported only where it is used.
        from nnstudent.inference.engines.torch import TorchEngine

        return TorchEngine(
            model, network, member=member, device=device, precision=precision, threads=threads
        )
    from nnstudent.inference.engines.openvino import OpenvinoEngine

    return OpenvinoEngine(
        model, network, member=member, device=device, precision=precision, threads=threads
    )


def mean_of_members(
    engines: Sequence[Callable[[Float32Array], Float32Array]],
) -> Callable[[Float32Array], Float32Array]:
    """An ensemble as one network: the mean of its members' logits, window by window.

    nnU-Net takes the mean over whole images, with the same result.

    Args:
        engines: At least one; each maps a window (z, y, x) to logits (class, z, y, x).
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
    import torch  # slow, so only where a device is to be found

    return bool(torch.cuda.is_available())
