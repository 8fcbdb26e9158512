"""The OpenVINO engine."""

from __future__ import annotations

import logging
from contextlib import suppress

import numpy as np

from nnstudent.bundle import graph
from nnstudent.bundle.bundle import Member, Model, Network
from nnstudent.bundle.network import build, load_weights
from nnstudent.errors import InputError, quoted
from nnstudent.inference.engines.precision import (
    choose_precision,
    cpu_instructions,
    precision_warning,
)
from nnstudent.types import Float32Array

log = logging.getLogger(__name__)


class OpenvinoEngine:
    """An :class:`~nnstudent.inference.engines.engine.Engine` that runs OpenVINO."""

    name = "openvino"
    restores_on: str | None = None

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
        """Read the graph, or convert the weights to one, and compile it for the network's patch.

        Raises:
            InputError: The device does not exist, the precision is not available, or the network
                cannot be read or converted.
            MissingExtraError: OpenVINO is not installed, or the model has only weights and torch is
                not installed.
        """
        core = graph.openvino().Core()
        name = device.upper()
        if not any(have == name or have.startswith(f"{name}.") for have in core.available_devices):
            raise InputError(
                f"device {device!r}: OpenVINO has {', '.join(core.available_devices)} here; "
                "use that or --engine torch"
            )
        has = cpu_instructions() if name == "CPU" else ()
        self.precision = choose_precision(precision, graph=member.int8 is not None, has=has)
        if (warning := precision_warning(self.precision, has)) is not None:
            log.warning("%s", warning)
        source = member.int8 if self.precision == "int8" else member.graph
        if source is not None:
            compiled = graph.read(source, network.spec)
        else:
            compiled = graph.convert(
                load_weights(build(network.spec), member.weights(), path=model.path), network.spec
            )
        # Set even for fp32: without a hint OpenVINO rounds to bfloat16 where it can. The rest of an
        # int8 network (normalization, activation, transposed convolution), half of a window's time,
        # runs as in a model without int8.
        around = (
            choose_precision("auto", graph=False, has=has)
            if self.precision == "int8"
            else self.precision
        )
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if around == "bf16" else "f32",
        }
        if name == "CPU":
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            self._compiled = core.compile_model(compiled, name, settings)
            self._request = self._compiled.create_infer_request()
        except RuntimeError as error:
            raise InputError(
                f"{model.path}: OpenVINO cannot run this network on {device} ({quoted(error)})"
            ) from error

    def __call__(self, window: Float32Array) -> Float32Array:
        """Logits (class, z, y, x) of a window (z, y, x); valid until the next call."""
        self._request.infer([window[np.newaxis, np.newaxis]], share_inputs=True)
        logits = self._request.get_output_tensor(0).data
        result: Float32Array = logits[0]
        return result

    def release(self) -> None:
        """Give back the memory that a window took; the next call takes it again."""
        # A request keeps its output; a new one has none before it runs.
        self._request = self._compiled.create_infer_request()
        with suppress(RuntimeError):  # not every device can
            self._compiled.release_memory()
