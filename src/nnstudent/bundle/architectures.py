"""The networks that a file may ask for: a table of classes with the arguments that they take.

A name in a file is only looked up here. It is never imported as it stands, because whoever writes
the file could then choose what runs.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nnstudent.errors import InputError, require

# Checks one argument: takes plain data and its name for errors, returns the value.
Check = Callable[[Any, str], Any]
Role = Literal["convolution", "normalization", "dropout", "nonlinearity", "block"]

MAX_STAGES = 12
MAX_FEATURES = 4096
MAX_LAYERS = 64  # of one stage
MAX_KERNEL = 15
MAX_STRIDE = 16


@dataclass(frozen=True)
class _Class:
    """A class that may be built.

    Attributes:
        module: The module to import it from.
        name: Its name there.
        arguments: The keyword arguments that a file may give it.
        role: The purpose of a layer; None for a whole network.
    """

    module: str
    name: str
    arguments: Mapping[str, Check]
    role: Role | None = None

    def load(self) -> Any:
        """Import the class; only names of this table are ever imported."""
        package = self.module.partition(".")[0]
        require(package, extra="torch", why=f"the network {self.name}")
        try:
            return getattr(importlib.import_module(self.module), self.name)
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"{self.module}.{self.name} is not in the installed version of {package} "
                f"({error}); upgrade it with: pip install -U {package}"
            ) from error


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{where} = {_shown(value)}; expected true or false")
    return value


def _whole(low: int, high: int) -> Check:
    def check(value: Any, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InputError(
                f"{where} = {_shown(value)}; expected a whole number from {low} to {high}"
            )
        return value

    return check


def _number(low: float, high: float) -> Check:
    def check(value: Any, where: str) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
            or not math.isfinite(value)
        ):
            raise InputError(
                f"{where} = {_shown(value)}; expected a number from {low:g} to {high:g}"
            )
        return value

    return check


def _one_of(*names: str) -> Check:
    def check(value: Any, where: str) -> str:
        if not isinstance(value, str) or value not in names:
            raise InputError(f"{where} = {_shown(value)}; expected one of {', '.join(names)}")
        return value

    return check


def _optional(inner: Check) -> Check:
    return lambda value, where: None if value is None else inner(value, where)


def _list(inner: Check, *, most: int = MAX_STAGES) -> Check:
    def check(value: Any, where: str) -> list[Any]:
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= most:
            raise InputError(f"{where} = {_shown(value)}; expected a list of 1 to {most} values")
        return [inner(item, f"{where}[{place}]") for place, item in enumerate(value)]

    return check


def _or_list(inner: Check, *, most: int = MAX_STAGES) -> Check:
    several = _list(inner, most=most)
    return lambda value, where: (
        several(value, where) if isinstance(value, list | tuple) else inner(value, where)
    )


def _triple(inner: Check) -> Check:
    several = _list(inner, most=3)

    def check(value: Any, where: str) -> list[Any]:
        if not isinstance(value, list | tuple) or len(value) != 3:
            raise InputError(f"{where} = {_shown(value)}; expected three values (z, y, x)")
        checked: list[Any] = several(value, where)
        return checked

    return check


def _layer(role: Role) -> Check:
    return lambda value, where: find_layer(value, role, where)


_INPLACE: dict[str, Check] = {"inplace": _flag}
_POSITIVE = _number(1e-6, 1e3)
_STATISTICS: dict[str, Check] = {
    "eps": _number(0, 1),
    "momentum": _optional(_number(0, 1)),
    "affine": _flag,
    "track_running_stats": _flag,
}
_DROPOUT: dict[str, Check] = {"p": _number(0, 1), **_INPLACE}
_LAYERS: dict[str, _Class] = {
    row.name: row
    for row in (
        _Class("torch.nn.modules.conv", "Conv3d", {}, "convolution"),
        _Class("torch.nn.modules.instancenorm", "InstanceNorm3d", _STATISTICS, "normalization"),
        _Class("torch.nn.modules.batchnorm", "BatchNorm3d", _STATISTICS, "normalization"),
        _Class("torch.nn.modules.dropout", "Dropout", _DROPOUT, "dropout"),
        _Class("torch.nn.modules.dropout", "Dropout3d", _DROPOUT, "dropout"),
        _Class("torch.nn.modules.dropout", "AlphaDropout", _DROPOUT, "dropout"),
        _Class("torch.nn.modules.dropout", "FeatureAlphaDropout", _DROPOUT, "dropout"),
        _Class(
            "torch.nn.modules.activation",
            "LeakyReLU",
            {"negative_slope": _number(-10, 10), **_INPLACE},
            "nonlinearity",
        ),
        _Class("torch.nn.modules.activation", "ReLU", _INPLACE, "nonlinearity"),
        _Class("torch.nn.modules.activation", "ReLU6", _INPLACE, "nonlinearity"),
        _Class(
            "torch.nn.modules.activation", "ELU", {"alpha": _POSITIVE, **_INPLACE}, "nonlinearity"
        ),
        _Class(
            "torch.nn.modules.activation", "CELU", {"alpha": _POSITIVE, **_INPLACE}, "nonlinearity"
        ),
        _Class("torch.nn.modules.activation", "SELU", _INPLACE, "nonlinearity"),
        _Class(
            "torch.nn.modules.activation",
            "GELU",
            {"approximate": _one_of("none", "tanh")},
            "nonlinearity",
        ),
        _Class("torch.nn.modules.activation", "SiLU", _INPLACE, "nonlinearity"),
        _Class("torch.nn.modules.activation", "Mish", _INPLACE, "nonlinearity"),
        _Class("torch.nn.modules.activation", "Hardswish", _INPLACE, "nonlinearity"),
        _Class(
            "torch.nn.modules.activation",
            "PReLU",
            {"num_parameters": _whole(1, 1), "init": _number(-10, 10)},
            "nonlinearity",
        ),
        _Class(
            "torch.nn.modules.activation",
            "Softplus",
            {"beta": _POSITIVE, "threshold": _POSITIVE},
            "nonlinearity",
        ),
        _Class("torch.nn.modules.activation", "Sigmoid", {}, "nonlinearity"),
        _Class("torch.nn.modules.activation", "Tanh", {}, "nonlinearity"),
        _Class(
            "dynamic_network_architectures.building_blocks.residual", "BasicBlockD", {}, "block"
        ),
        _Class(
            "dynamic_network_architectures.building_blocks.residual", "BottleneckD", {}, "block"
        ),
    )
}

_FEATURES = _whole(1, MAX_FEATURES)
_COUNT = _whole(1, MAX_LAYERS)
_KERNELS = _or_list(_or_list(_whole(1, MAX_KERNEL), most=3))
_STRIDES = _or_list(_or_list(_whole(1, MAX_STRIDE), most=3))
# A layer, and the name of its arguments in the file.
_WITH_ARGUMENTS = {
    "norm_op": "norm_op_kwargs",
    "dropout_op": "dropout_op_kwargs",
    "nonlin": "nonlin_kwargs",
}


def _any_table(value: Any, where: str) -> dict[str, Any]:
    """A table of arguments; :func:`check` checks its values by the class that receives them."""
    if not isinstance(value, Mapping):
        raise InputError(f"{where} = {_shown(value)}; expected a table of arguments")
    return dict(value)


_COMMON: dict[str, Check] = {
    "n_stages": _whole(1, MAX_STAGES),
    "features_per_stage": _or_list(_FEATURES),
    "conv_op": _layer("convolution"),
    "kernel_sizes": _KERNELS,
    "strides": _STRIDES,
    "n_conv_per_stage_decoder": _or_list(_COUNT),
    "conv_bias": _flag,
    "norm_op": _optional(_layer("normalization")),
    "dropout_op": _optional(_layer("dropout")),
    "nonlin": _optional(_layer("nonlinearity")),
    "deep_supervision": _flag,
    **dict.fromkeys(_WITH_ARGUMENTS.values(), _optional(_any_table)),
}
_RESIDUAL: dict[str, Check] = {
    **_COMMON,
    "n_blocks_per_stage": _or_list(_COUNT),
    "block": _layer("block"),
    "bottleneck_channels": _optional(_or_list(_FEATURES)),
    "stem_channels": _optional(_FEATURES),
}
_OWN: dict[str, Check] = {
    "features": _list(_FEATURES),
    "strides": _list(_triple(_whole(1, MAX_STRIDE))),
    "kernels": _list(_triple(_whole(1, MAX_KERNEL))),
    "encoder_convolutions": _list(_COUNT),
    "decoder_convolutions": _list(_COUNT),
    "deep_supervision": _flag,
}
UNETS = "dynamic_network_architectures.architectures.unet"
_OWN_UNETS = "nnstudent.training.networks"
# Where nnU-Net v2.3.1 to 2.4 looked for a class when it completed older plans.
_MOVED = {
    "dynamic_network_architectures.architectures.residual_unet.ResidualEncoderUNet": (
        f"{UNETS}.ResidualEncoderUNet"
    )
}
_NETWORKS: dict[str, _Class] = {
    f"{row.module}.{row.name}": row
    for row in (
        _Class(
            UNETS,
            "PlainConvUNet",
            {**_COMMON, "n_conv_per_stage": _or_list(_COUNT), "nonlin_first": _flag},
        ),
        _Class(UNETS, "ResidualEncoderUNet", _RESIDUAL),
        _Class(UNETS, "ResidualUNet", _RESIDUAL),
        _Class(f"{_OWN_UNETS}.separable", "SeparableUNet", _OWN),
        _Class(f"{_OWN_UNETS}.strided_stem", "StridedStemUNet", _OWN),
    )
}


@dataclass(frozen=True)
class Checked:
    """A network that passed the check; nothing is imported yet.

    Attributes:
        network: The network's class.
        arguments: Its keyword arguments; a class is given as its row of the table.
    """

    network: _Class
    arguments: Mapping[str, Any]

    def load(self) -> tuple[Any, dict[str, Any]]:
        """Import the network's class and those among its keyword arguments.

        Raises:
            MissingExtraError: torch or dynamic_network_architectures is not installed.
        """
        return self.network.load(), {
            key: value.load() if isinstance(value, _Class) else value
            for key, value in self.arguments.items()
        }


def supported() -> tuple[str, ...]:
    """Dotted names of the networks that can be built."""
    return tuple(_NETWORKS)


def check(class_name: Any, kwargs: Any, imported: Any = ()) -> Checked:
    """Check a network's class and arguments against the table.

    Args:
        class_name: Dotted name of the network's class.
        kwargs: Its keyword arguments, plain data.
        imported: Names of the arguments that the file lists as classes.

    Raises:
        InputError: The network is not in the table, or an argument is unknown, of the wrong type
            or out of bounds.
    """
    class_name = _MOVED.get(class_name, class_name) if isinstance(class_name, str) else class_name
    if not isinstance(class_name, str) or class_name not in _NETWORKS:
        raise InputError(
            f"network {_shown(class_name)} is not supported; supported are "
            f"{', '.join(row.name for row in _NETWORKS.values())} under their full names"
        )
    network = _NETWORKS[class_name]
    if not isinstance(kwargs, Mapping):
        raise InputError(f"the arguments of {network.name} are {_shown(kwargs)}; expected a table")
    checked = _arguments(network, kwargs)
    for layer, given in _WITH_ARGUMENTS.items():
        if checked.get(given) is not None and isinstance(checked.get(layer), _Class):
            checked[given] = _arguments(checked[layer], checked[given], where=f"{given}.")
        elif checked.get(given):
            raise InputError(f"{network.name}: {given} is given without {layer}")
    _only_classes(imported, network)
    return Checked(network, checked)


def find_layer(path: Any, role: Role, where: str) -> _Class:
    """Look up a layer that a file names as ``torch.nn.NAME`` or by its full path.

    Raises:
        InputError: The table has no such layer for this role.
    """
    name = path.rpartition(".")[2] if isinstance(path, str) else ""
    row = _LAYERS.get(name)
    if row is None or row.role != role or path not in _spellings(row):
        names = ", ".join(one.name for one in _LAYERS.values() if one.role == role)
        raise InputError(
            f"{where} = {_shown(path)}; expected a {role} of torch.nn or nnU-Net ({names})"
        )
    return row


def _spellings(row: _Class) -> set[str]:
    full = {f"{row.module}.{row.name}"}
    return (
        full | {f"torch.nn.{row.name}", f"torch.nn.modules.{row.name}"}
        if row.module.startswith("torch.")
        else full
    )


def _arguments(row: _Class, given: Mapping[Any, Any], *, where: str = "") -> dict[str, Any]:
    for key in given:
        if key not in row.arguments:
            known = ", ".join(row.arguments) or "none"
            raise InputError(f"{row.name} takes no argument {_shown(key)}; it takes {known}")
    return {
        key: row.arguments[key](value, f"{row.name}: {where}{key}") for key, value in given.items()
    }


def _only_classes(imported: Any, network: _Class) -> None:
    """Refuse imports other than classes: nnU-Net imports all that ``_kw_requires_import`` lists."""
    allowed = {"conv_op", "norm_op", "dropout_op", "nonlin", "block"} & set(network.arguments)
    if (
        not isinstance(imported, Sequence)
        or isinstance(imported, str)
        or not all(isinstance(key, str) for key in imported)
    ):
        raise InputError(
            f"{network.name}: the list of imported arguments is {_shown(imported)}; expected names"
        )
    for key in imported:
        if key not in allowed:
            raise InputError(
                f"{network.name}: {_shown(key)} would be imported; "
                f"only {', '.join(sorted(allowed)) or 'nothing'} may be"
            )


def _shown(value: Any) -> str:
    """A value for an error, shortened, because a file may hold megabytes."""
    text = (
        repr(value)
        if not isinstance(value, list | tuple | Mapping)
        else f"a {type(value).__name__} of {len(value)}"
    )
    return text if len(text) <= 80 else f"{text[:77]}..."
