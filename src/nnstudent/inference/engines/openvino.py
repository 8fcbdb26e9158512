"""The OpenVINO engine."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from contextlib import suppress

import numpy as np

from nnstudent.bundle import graph
from nnstudent.bundle.bundle import Member, Model, Network
from nnstudent.bundle.network import build, load_weights
from nnstudent.errors import InputError, quoted
from nnstudent.inference.engines.head import Head
from nnstudent.inference.engines.precision import (
    accelerator_precision,
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
        on_cpu, int8 = name == "CPU", member.int8 is not None
        has = cpu_instructions() if on_cpu else ()
        self.precision = (
            choose_precision(precision, graph=int8, has=has)
            if on_cpu
            else accelerator_precision(precision, device=name.partition(".")[0], graph=int8)
        )
        if (warning := precision_warning(self.precision, has)) is not None:
            log.warning("%s", warning)
        source = member.int8 if self.precision == "int8" else member.graph
        if source is not None:
            compiled = graph.read(source, network.spec)
        elif member.convert_apart is not None and "torch" not in sys.modules:
            compiled = member.convert_apart()
        else:
            compiled = graph.convert(
                load_weights(build(network.spec), member.weights(), path=model.path), network.spec
            )
        cut = graph.without_last_layer(compiled) if on_cpu else None
        if cut is not None and (head := Head(*cut[1:])).saves_memory:
            compiled, self.head = cut[0], head
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _hint(self.precision, has=has, on_cpu=on_cpu),
        }
        if on_cpu:
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
        features = self.features(window)
        return features if self.head is None else self.head(features)

    def features(self, window: Float32Array) -> Float32Array:
        """The input of ``head``, or the logits if there is none; valid until the next."""
        # Outputs that are not shared are copied.
        image = window[np.newaxis, np.newaxis]
        self._request.infer([image], share_inputs=True, share_outputs=True)
        result: Float32Array = self._request.get_output_tensor(0).data[0]
        return result

    def release(self) -> None:
        """Give back the memory that a window took; the next call takes it again."""
        # A request keeps its output; a new one has none before it runs.
        self._request = self._compiled.create_infer_request()
        with suppress(RuntimeError):  # not every device can
            self._compiled.release_memory()


def _hint(precision: str, *, has: Collection[str], on_cpu: bool) -> str:
    """OpenVINO's name of the number format of what is not int8.

    It is given even for fp32, because without it OpenVINO rounds to shorter numbers where it can.
    The rest of an int8 network (normalization, activation, transposed convolution), half of a
    window's time, runs as in a model without int8.
    """
    if not on_cpu:
        return "f32" if precision == "fp32" else "f16"
    if precision == "int8":
        precision = choose_precision("auto", graph=False, has=has)
    return "bf16" if precision == "bf16" else "f32"
