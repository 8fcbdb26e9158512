"""The torch engine, on the CPU or a GPU."""

from __future__ import annotations

from typing import Any

from nnstudent.bundle.bundle import Member, Model, Network
from nnstudent.bundle.network import build, load_weights
from nnstudent.errors import InputError, require
from nnstudent.inference.engines.head import Head
from nnstudent.types import Float32Array


class TorchEngine:
    """An :class:`~nnstudent.inference.engines.engine.Engine` that runs torch.

    Attributes:
        sums_on_device: Whether logits are summed on the device, see
            :mod:`nnstudent.inference.windows.on_device`; so on a GPU.
        device: The torch device.
    """

    name = "torch"
    head: Head | None = None

    def __init__(
        self,
        model: Model,
        network: Network,
        *,
        member: Member,
        device: str,
        precision: str,
        threads: int,
    ) -> None:
        """Build the network on the device and load its weights.

        It runs in float32 on the CPU and in mixed precision on CUDA.

        Raises:
            InputError: The device or precision does not exist, or the weights do not fit.
            MissingExtraError: torch is not installed.
        """
        torch = require("torch", extra="torch", why="the torch engine")
        if precision not in ("auto", "fp32"):
            raise InputError(
                f"precision {precision!r}: torch has fp32, on CUDA mixed; leave it out or use "
                "--engine openvino"
            )
        try:
            self.device: Any = torch.device(device)
        except RuntimeError as error:
            raise InputError(
                f"device {device!r}: torch does not know it; use cpu or cuda, or --engine openvino"
            ) from error
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise InputError(
                f"device {device!r}: torch sees no CUDA here; use --device cpu, or install a torch "
                "that is built for your GPU"
            )
        self._torch = torch
        self._cuda = self.device.type == "cuda"
        self.sums_on_device = self._cuda
        self.restores_on = device if self._cuda else None
        self.precision = "fp16" if self._cuda else "fp32"
        if self._cuda:  # every window has the same shape, so that trying kernels pays
            torch.backends.cudnn.benchmark = True
        torch.set_num_threads(threads)
        module = load_weights(build(network.spec), member.weights(), path=model.path)
        self._module = module.to(self.device)

    def __call__(self, window: Float32Array) -> Float32Array:
        """Logits (class, z, y, x) of a window (z, y, x)."""
        logits = self.run(self._torch.from_numpy(window).to(self.device))
        result: Float32Array = logits.cpu().numpy()
        return result

    features = __call__

    def run(self, window: Any) -> Any:
        """Logits (class, z, y, x), float32, of a window (z, y, x); both tensors on the device."""
        torch = self._torch
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=self._cuda):
            return self._module(window[None, None])[0].float()

    def release(self) -> None:
        """Nothing to do: torch keeps no memory between calls that it cannot use elsewhere."""
