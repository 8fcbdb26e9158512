"""The torch engine, on the CPU or a GPU."""

from __future__ import annotations

from nnstudent.bundle.bundle import Member, Model, Network
from nnstudent.bundle.network import build, load_weights
from nnstudent.errors import InputError, require
from nnstudent.types import Float32Array


class TorchEngine:
    """An :class:`~nnstudent.inference.engines.engine.Engine` that runs torch."""

    name = "torch"

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
            self._device = torch.device(device)
        except RuntimeError as error:
            raise InputError(
                f"device {device!r}: torch does not know it; use cpu or cuda"
            ) from error
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise InputError(
                f"device {device!r}: torch sees no CUDA here; use --device cpu, or install a torch "
                "that is built for your GPU"
            )
        self._torch = torch
        self._cuda = self._device.type == "cuda"
        self.restores_on = device if self._cuda else None
        self.precision = "fp16" if self._cuda else "fp32"
        torch.set_num_threads(threads)
        module = load_weights(build(network.spec), member.weights(), path=model.path)
        self._module = module.to(self._device)

    def __call__(self, window: Float32Array) -> Float32Array:
        """Logits (class, z, y, x) of a window (z, y, x)."""
        torch = self._torch
        with torch.inference_mode(), torch.autocast(self._device.type, enabled=self._cuda):
            logits = self._module(torch.from_numpy(window)[None, None].to(self._device))
        result: Float32Array = logits[0].float().cpu().numpy()
        return result

    def release(self) -> None:
        """Nothing to do: torch keeps no memory between calls that it cannot use elsewhere."""
