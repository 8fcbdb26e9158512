"""Building the torch module of a network from its specification; torch is imported when called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.bundle.architectures import check
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.bundle.weights import Weights
from nnstudent.errors import InputError, quoted, require

MAX_WEIGHTS = 1_000_000_000  # 4 GB of memory; nnU-Net's largest preset has about a fifth
# Raised by the classes for arguments that contradict each other, such as two strides for three
# stages.
_UNBUILDABLE = (
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    RuntimeError,
)


def build(spec: NetworkSpec) -> Any:
    """Build a network's ``torch.nn.Module`` in evaluation mode, without deep supervision.

    Its weights are random.

    Raises:
        InputError: The class does not take these arguments, or the network would be enormous.
        MissingExtraError: torch or dynamic_network_architectures is not installed.
    """
    torch = require("torch", extra="torch", why="building a network")
    name = spec.architecture.class_name
    network_class, kwargs = check(name, spec.architecture.kwargs, spec.architecture.imported).load()
    kwargs |= {
        "input_channels": 1,
        "num_classes": len(spec.classes) - spec.regions,
        "deep_supervision": False,
    }
    try:
        with torch.device("meta"):  # checks the size before any memory is allocated
            weights = sum(values.numel() for values in network_class(**kwargs).parameters())
        if weights > MAX_WEIGHTS:
            raise InputError(
                f"{name} would have {weights:,} weights; at most {MAX_WEIGHTS:,} are supported"
            )
        module = network_class(**kwargs)
    except _UNBUILDABLE as error:
        raise InputError(
            f"{name} cannot be built ({quoted(error)}); check the architecture in plans.json"
        ) from error
    if spec.regions:
        module.register_forward_hook(_with_background)
    if spec.logit_shift:
        module.register_forward_hook(_shifted(spec))
    return module.eval()


def _with_background(module: Any, inputs: Any, logits: Any) -> Any:
    """Add the background of 0, which nnU-Net omits for regions: they are where logits are above."""
    torch = require("torch", extra="torch", why="building a network")
    return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)


def _shifted(spec: NetworkSpec) -> Callable[[Any, Any, Any], Any]:
    """The step that adds each class's shift to its logits; it is converted with the network."""
    torch = require("torch", extra="torch", why="building a network")
    shifts = torch.tensor([spec.logit_shift.get(name, 0.0) for name in spec.classes])
    column = shifts.view(1, -1, 1, 1, 1)

    def add(module: Any, inputs: Any, logits: Any) -> Any:
        return logits + column.to(logits.device, logits.dtype)

    return add


def canonical_names(module: Any) -> dict[str, str]:
    """For each name in the module's state, the first name of the same tensor.

    nnU-Net's networks give most tensors three names.
    """
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(tensor), name)
        for name, tensor in module.state_dict(keep_vars=True).items()
    }


def unique_weights(module: Any, weights: Weights) -> Weights:
    """Weights without duplicates, each under its first name."""
    names = canonical_names(module)
    return {name: weights[name] for name in dict.fromkeys(names.values()) if name in weights}


def with_neutral(module: Any, weights: Weights) -> Weights:
    """Complete weights that were read from a graph, each under its first name.

    Converting removes scales of 1 and biases of 0, which are restored, and the heads of deep
    supervision, which become 0.
    """
    names = canonical_names(module)
    complete = {names[name]: values for name, values in weights.items() if name in names}
    for name, tensor in module.state_dict().items():
        if names[name] not in complete and (tensor.ndim == 1 or ".seg_layers." in name):
            complete[names[name]] = np.full(
                tensor.shape, float(tensor.ndim == 1 and name.endswith(".weight")), np.float32
            )
    return complete


def load_weights(module: Any, weights: Mapping[str, Any], *, path: Path) -> Any:
    """Load weights into a module; a tensor with several names may be given under any of them.

    Raises:
        InputError: A weight is missing, unknown or of another shape.
    """
    torch = require("torch", extra="torch", why="loading weights")
    names = canonical_names(module)
    unknown = [name for name in weights if name not in names]
    given: dict[str, Any] = {}
    for name, values in weights.items():
        if name in names:
            given.setdefault(names[name], values)
    missing = [name for name in dict.fromkeys(names.values()) if name not in given]
    # Heads of deep supervision are in a training checkpoint but not in a network built without it.
    unknown = [name for name in unknown if ".seg_layers." not in f".{name}"]
    if missing or unknown:
        what = f"lacks {missing[0]}" if missing else f"has {unknown[0]}, which the network lacks"
        raise InputError(
            f"{path}: the weights do not fit the network in plans.json ({what}); "
            "the trainer may build another network"
        )
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            if names[name] != name:
                continue
            values = torch.as_tensor(given[name])
            if tuple(values.shape) != tuple(tensor.shape):
                raise InputError(
                    f"{path}: weight {name} is {tuple(values.shape)}, "
                    f"the network in plans.json needs {tuple(tensor.shape)}"
                )
            tensor.copy_(values)
    return module
