"""OpenVINO without its telemetry: reading, converting and writing a network's graph."""

from __future__ import annotations

import importlib
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
from nnstudent.types import Float32Array
from nnstudent.volume import Shape

_FLAT = {  # end of a constant's name → the parameter
    "/aten::_convolution/Reshape": ".bias",
    "/aten::instance_norm/Reshape": ".weight",
    "/aten::instance_norm/Reshape_1": ".bias",
}


def openvino() -> ModuleType:
    """Import OpenVINO with its telemetry off.

    OpenVINO reports its import and every conversion to its makers through ``openvino_telemetry``,
    unless that module is missing; so this process pretends that it is. If it was imported before,
    its consent is withdrawn instead.
    """
    loaded = sys.modules.get("openvino_telemetry")
    if loaded is None:
        # None makes its import fail.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    elif "openvino" in sys.modules:
        loaded.Telemetry().consent = False  # it is a singleton, set up when OpenVINO was imported
    return require("openvino", extra="torch", why="the openvino engine")


def convert(module: Any, spec: NetworkSpec) -> Any:
    """Convert a torch module to an OpenVINO graph, (1, 1, z, y, x) → (1, class, z, y, x).

    The spatial size is the patch of the specification.

    Raises:
        InputError: The network cannot be converted.
    """
    ov = openvino()
    torch = require("torch", extra="torch", why="converting a network")
    decoder = importlib.import_module(
        "openvino.frontend.pytorch.ts_decoder"
    ).TorchScriptPythonDecoder
    name = spec.architecture.class_name
    for size in (_small(spec), spec.patch):
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                # Tracing it once more to compare takes four times as long. What a graph computes
                # is checked where it matters, by its output's shape here and its labels in tests.
                graph = ov.convert_model(
                    decoder(
                        module,
                        example_input=torch.zeros(1, 1, *size),
                        trace_kwargs={"check_trace": False},
                    )
                )
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
        f"{name} gives {graph.outputs}, not one map of {len(spec.classes)} classes; "
        "use --engine torch"
    )


def save(graph: Any, path: Path, *, half: bool = True) -> None:
    """Write the graph as ``path`` (.xml) and its weights beside it (.bin).

    Args:
        graph: The graph.
        path: The ``.xml`` file.
        half: Whether weights are rounded to float16.

    Raises:
        OutputError: It cannot be written, for example because the disk is full.
    """
    try:
        openvino().save_model(graph, path, compress_to_fp16=half)
        openvino().Core().read_model(path)  # on a full disk, weights are cut off without an error
    except RuntimeError as error:
        raise OutputError(
            f"{path}: cannot be written ({quoted(error)}); choose a place that has room"
        ) from error


def read(path: Path, spec: NetworkSpec) -> Any:
    """Read the graph of a network.

    Args:
        path: The ``.xml`` file; the ``.bin`` file lies beside it.
        spec: The specification that the graph should match.

    Raises:
        InputError: The file is damaged or no OpenVINO IR, has other inputs or outputs, or a weight
            is not finite.
    """
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    # OpenVINO recognizes formats by content, and other formats may refer to files elsewhere.
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
    """A graph's weights under the names of the torch module that it was converted from, float32.

    OpenVINO keeps the name of a convolution's weight. It names the convolution's bias, and the
    scale and shift of an instance normalization, after the operation. Constants with any other
    kind of name are left out.
    """
    named: Weights = {}
    for constant in graph.get_ops():
        if constant.get_type_name() != "Constant":
            continue
        name = constant.get_friendly_name().removesuffix("_compressed")
        if name.startswith("self.") and name.endswith(".weight"):
            named[name.removeprefix("self.")] = constant.data.astype(np.float32)
        for operation, parameter in _FLAT.items():
            if name.startswith("__module.") and name.endswith(operation):
                values, layer = (
                    constant.data.astype(np.float32),
                    name.removeprefix("__module.").removesuffix(operation),
                )
                # Kernels of a convolution in groups are (group, out, in, z, y, x).
                if values.ndim == 6:
                    named[f"{layer}.weight"] = values.reshape(-1, *values.shape[2:])
                else:
                    named[layer + parameter] = values.ravel()
    return named


def without_last_layer(graph: Any) -> tuple[Any, Float32Array, Float32Array] | None:
    """A graph that ends before its last layer, where that is a convolution of 1×1×1 voxels.

    Args:
        graph: A network's graph; it is not changed, but shares its operations with the result.

    Returns:
        The graph, (1, 1, z, y, x) → (1, feature, z, y, x), with the weights (class, feature) and
        the bias (class,) of the last layer; None where the last layer is anything else.
    """
    last = graph.get_results()[0].input_value(0).get_node()
    bias = None
    if last.get_type_name() == "Add":
        bias = _constant(last.input_value(1))
        last = last.input_value(0).get_node()
    if last.get_type_name() != "Convolution" or any(last.get_attributes()["pads_begin"]):
        return None
    weights = _constant(last.input_value(1))
    if weights is None or weights.shape[2:] != (1, 1, 1):
        return None
    if bias is None:
        bias = np.zeros(len(weights), np.float32)
    before = last.input_value(0)
    if before.get_node().get_type_name() == "FakeQuantize":  # of an int8 network
        before = before.get_node().input_value(0)
    if bias.size != len(weights) or len(before.shape) != 5:
        return None
    cut = openvino().Model([before], graph.get_parameters())
    return cut, np.ascontiguousarray(weights[:, :, 0, 0, 0]), bias.ravel()


def _constant(port: Any) -> Float32Array | None:
    """The value of a port that depends on constants only, float32; None for any other."""
    ov = openvino()
    try:
        value = ov.compile_model(ov.Model([port], []), "CPU")([])[0]
    except RuntimeError:  # it depends on the network's input
        return None
    return np.array(value, np.float32)


def _small(spec: NetworkSpec) -> Shape:
    """The smallest input that exercises every level, because tracing runs the network.

    Its lowest level has two voxels, which instance normalization needs. It is the whole patch if
    the strides are not known.
    """
    strides = spec.architecture.kwargs.get("strides")
    if not isinstance(strides, list | tuple) or not all(
        isinstance(s, list | tuple) and len(s) == 3 for s in strides
    ):
        return spec.patch
    least = [math.prod(int(s[axis]) for s in strides) for axis in range(3)]
    longest = max(range(3), key=lambda axis: spec.patch[axis] / least[axis])
    least[longest] *= 2
    z, y, x = (min(size, whole) for size, whole in zip(least, spec.patch, strict=True))
    return z, y, x
