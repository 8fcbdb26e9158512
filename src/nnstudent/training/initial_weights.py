"""Start a training from the weights of a trained model instead of random ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from nnstudent.bundle.bundle import Model
from nnstudent.bundle.network import canonical_names
from nnstudent.bundle.spec import BACKGROUND
from nnstudent.errors import InputError, require
from nnstudent.training.design.describe import built_on_meta
from nnstudent.training.recipe import Recipe
from nnstudent.words import count

log = logging.getLogger(__name__)

_HEAD = "seg_layers."  # nnU-Net's name of the layers that give class scores
_WHAT_TO_DO = "start from a model of the same recipe, or use the recipe that it was trained with"


def load_start(module: Any, model: Model, classes: Sequence[str]) -> None:
    """Load a model's weights into a network of the same architecture, which may have other classes.

    The layers that give class scores take over the classes that both have, by name; the others
    keep their random weights. So do the heads of deep supervision if the model has none. The log
    says which classes are taken over, which are new, and which are dropped.

    Args:
        module: The network to train.
        model: The model; the first member of the network that has most of the classes is used.
        classes: The classes to learn, by channel, background first.

    Raises:
        InputError: The model's network has other layers, or the two share no class.
    """
    theirs = _take_over(module, model, classes)
    log.info("%s", describe_start(model, theirs, classes[1:]))


def check_start(recipe: Recipe, model: Model) -> None:
    """Check that a training of this recipe can start from a model, without the memory for it.

    Args:
        recipe: Network and training; its classes are the model's.
        model: The model.

    Raises:
        InputError: The model's network has other layers.
        MissingExtraError: nnunetv2 is not installed.
    """
    classes = [BACKGROUND, *model.classes]
    _take_over(built_on_meta(recipe.network, classes=len(classes)), model, classes)


def _take_over(module: Any, model: Model, classes: Sequence[str]) -> tuple[str, ...]:
    """Load the weights; return the foreground classes of the network that they are from."""
    torch = require("torch", extra="train", why="training")
    source = max(
        model.networks, key=lambda network: len(set(classes) & set(network.spec.foreground))
    )
    shared = [
        (channel, source.spec.classes.index(name))
        for channel, name in enumerate(classes)
        if name in source.spec.classes
    ]
    if not any(channel for channel, _ in shared):
        raise InputError(
            f"{model.path}: segments {', '.join(model.classes)}, "
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
    return source.spec.foreground


def describe_start(model: Model, theirs: Sequence[str], ours: Sequence[str]) -> str:
    """Say which classes a training takes over from a model, which are new and which are dropped.

    Args:
        model: The model.
        theirs: Its classes.
        ours: The classes to learn.
    """
    kept = [name for name in ours if name in theirs]
    parts = [f"{count(len(kept), 'class', plural='classes')} taken over"]
    new = [name for name in ours if name not in theirs]
    dropped = [name for name in theirs if name not in ours]
    if new:
        parts.append(f"new, from random weights: {', '.join(new)}")
    if dropped:
        parts.append(f"not to be learned any more: {', '.join(dropped)}")
    path = "the bundled student" if model.bundled else model.path
    return f"starts from {path}: {'; '.join(parts)}"
