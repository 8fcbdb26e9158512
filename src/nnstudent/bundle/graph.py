"""OpenVINO without its telemetry: reading, converting and writing a network's graph."""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from nnstudent.bundle.spec import NetworkSpec
from nnstudent.bundle.weights import Weights, check_finite
from nnstudent.errors import InputError, OutputError, quoted, require
from nnstudent.volume import Shape

_FLAT = {  # what a constant's name ends in → the parameter
    "/aten::_convolution/Reshape": ".bias",
    "/aten::instance_norm/Reshape": ".weight",
    "/aten::instance_norm/Reshape_1": ".bias",
}


def openvino() -> ModuleType:
    """OpenVINO, with its telemetry off.

    It reports its import and every conversion to its makers by way of ``openvino_telemetry`` unless that is missing;
    so for this process it is. Whoever imported it before us has its consent withdrawn instead.
    """
    loaded = sys.modules.get("openvino_telemetry")
    if loaded is None:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # None makes its import fail
    elif "openvino" in sys.modules:
        loaded.Telemetry().consent = False  # it is a singleton, set up when OpenVINO was imported
    return require("openvino", extra="torch", why="the openvino engine")


def convert(module: Any, spec: NetworkSpec) -> Any:
    """A torch module as an OpenVINO graph of the spec's patch, (1, 1, z, y, x) → (1, class, z, y, x).

    Raises:
        InputError: The network cannot be converted.
    """
    ov = openvino()
    torch = require("torch", extra="torch", why="converting a network")
    name = spec.architecture.class_name
    for size in (_small(spec), spec.patch):
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                graph = ov.convert_model(module, example_input=torch.zeros(1, 1, *size))
            graph.reshape([1, 1, *spec.patch])
        except (RuntimeError, TypeError, ValueError) as error:
            if size == spec.patch:
                raise InputError(
                    f"{name} cannot be converted to OpenVINO ({quoted(error)}); use --engine torch"
                ) from error
            continue
        if len(graph.outputs) == 1 and tuple(graph.output(0).shape) == (
            1,
            len(spec.classes),
            *spec.patch,
        ):
            return graph
    raise InputError(
        f"{name} gives {graph.outputs}, not one map of {len(spec.classes)} classes; use --engine torch"
    )


def save(graph: Any, path: Path) -> None:
    """Write the graph as ``path`` (.xml) and its weights in float16 beside it (.bin).

    Raises:
        OutputError: It cannot be written, such as for want of room.
    """
    try:
        openvino().save_model(graph, path, compress_to_fp16=True)
        openvino().Core().read_model(path)  # on a full disk, weights are cut off without an error
    except RuntimeError as error:
        raise OutputError(
            f"{path}: cannot be written ({quoted(error)}); choose a place that has room"
        ) from error


def read(path: Path, spec: NetworkSpec) -> Any:
    """Read the graph of a network.

    Args:
        path: The ``.xml`` file; the ``.bin`` file lies beside it.
        spec: What the graph should take and give.

    Raises:
        InputError: The file is damaged or no OpenVINO IR, takes or gives something else, or a weight is not finite.
    """
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    # OpenVINO tells formats by content, and others may refer to files elsewhere
    if not start.startswith((b"<?xml", b"<net")):
        raise InputError(f"{path}: is no graph in OpenVINO's own format; export the bundle again")
    try:
        graph = openvino().Core().read_model(path)
    except RuntimeError as error:
        raise InputError(
            f"{path}: is no graph that OpenVINO reads ({quoted(error)}); export the bundle again"
        ) from error
    _check_shapes(graph, spec, path)
    constants = {
        one.get_friendly_name(): one.data
        for one in graph.get_ops()
        if one.get_type_name() == "Constant"
    }
    check_finite(
        {name: values for name, values in constants.items() if values.dtype.kind == "f"}, path=path
    )
    return graph


def _check_shapes(graph: Any, spec: NetworkSpec, path: Path) -> None:
    wanted = [[1, 1, *spec.patch]], [[1, len(spec.classes), *spec.patch]]
    found = tuple(
        [[int(n) for n in port.shape] if port.partial_shape.is_static else [] for port in ports]
        for ports in (graph.inputs, graph.outputs)
    )
    if found != wanted:
        raise InputError(
            f"{path}: takes {found[0]} and gives {found[1]}; expected {wanted[0]} and {wanted[1]}, "
            "from patch and classes of its bundle; export the bundle again"
        )


def weights(graph: Any) -> Weights:
    """A graph's weights under the names of the torch module that it was converted from, float32; what has another kind of name is left out.

    OpenVINO keeps the name of a convolution's weight. Its bias, and the scale and shift of an instance normalization, it names after
    the operation.
    """
    found: Weights = {}
    for constant in graph.get_ops():
        if constant.get_type_name() != "Constant":
            continue
        name = constant.get_friendly_name().removesuffix("_compressed")
        if name.startswith("self.") and name.endswith(".weight"):
            found[name.removeprefix("self.")] = constant.data.astype(np.float32)
        for operation, parameter in _FLAT.items():
            if name.startswith("__module.") and name.endswith(operation):
                values, layer = (
                    constant.data.astype(np.float32),
                    name.removeprefix("__module.").removesuffix(operation),
                )
                if (
                    values.ndim == 6
                ):  # kernels of a convolution in groups: (group, out, in, z, y, x)
                    found[f"{layer}.weight"] = values.reshape(-1, *values.shape[2:])
                else:
                    found[layer + parameter] = values.ravel()
    return found


def _small(spec: NetworkSpec) -> Shape:
    """The smallest input that exercises every level, for tracing runs the network; the whole patch if that is not known."""
    strides = spec.architecture.kwargs.get("strides")
    if not isinstance(strides, list | tuple) or not all(
        isinstance(s, list | tuple) and len(s) == 3 for s in strides
    ):
        return spec.patch
    z, y, x = (
        min(2 * math.prod(int(s[axis]) for s in strides), spec.patch[axis]) for axis in range(3)
    )
    return z, y, x
