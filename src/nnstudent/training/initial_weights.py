"""Start a training from the weights of a trained model instead of random ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnstudent.bundle.bundle import Model
from nnstudent.bundle.network import canonical_names
from nnstudent.errors import InputError, require

_HEAD = "seg_layers."  # nnU-Net's name of the layers that give class scores
_WHAT_TO_DO = "start from a model of the same recipe, or use the recipe that it was trained with"


def load_start(module: Any, model: Model, classes: Sequence[str]) -> None:
    """Load a model's weights into a network of the same architecture, which may have other classes.

    The layers that give class scores take over the classes that both have, by name; the others
    keep their random weights. So do the heads of deep supervision if the model has none.

    Args:
        module: The network to train.
        model: The model; the first member of its first network is used.
        classes: The classes to learn, by channel, background first.

    Raises:
        InputError: The model's network has other layers, or the two share no class.
    """
    torch = require("torch", extra="train", why="training")
    source = model.networks[0]
    shared = [
        (channel, source.spec.classes.index(name))
        for channel, name in enumerate(classes)
        if name in source.spec.classes
    ]
    if not any(channel for channel, _ in shared):
        raise InputError(
            f"{model.path}: segments {', '.join(source.spec.foreground)}, "
            "none of which is to be learned; start from another model"
        )
    names = canonical_names(module)
    weights = source.members[0].weights()
    spare = [name for name in weights if name not in names and _HEAD not in name]
    if spare:
        raise InputError(
            f"{model.path}: is another network (it has {len(spare)} tensors that this recipe's "
            f"lacks, {spare[0]} the first); {_WHAT_TO_DO}"
        )
    given = {
        names[name]: torch.from_numpy(values) for name, values in weights.items() if name in names
    }
    to, of = (list(channels) for channels in zip(*shared, strict=True))
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            if names[name] != name:
                continue
            values, head = given.get(name), _HEAD in name
            if head and (values is None or not values.any()):
                continue
            if values is None or tuple(values.shape)[head:] != tuple(tensor.shape)[head:]:
                theirs = "lacks it" if values is None else f"has {tuple(values.shape)}"
                raise InputError(
                    f"{model.path}: is another network (this recipe's {name} is "
                    f"{tuple(tensor.shape)}, the model {theirs}); {_WHAT_TO_DO}"
                )
            if head:
                tensor[to] = values[of].to(tensor)
            else:
                tensor.copy_(values)
