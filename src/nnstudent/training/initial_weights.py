"""Start a training from the weights of a trained model instead of random ones.

A narrower network starts with some of a wider one's channels, evenly spaced: Xu et al.,
"Initializing Models with Larger Ones" (ICLR 2024), call it weight selection.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
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


def load_start(
    module: Any, model: Model, classes: Sequence[str], *, hosts: Sequence[str] = ()
) -> None:
    """Load a model's weights into a network of the same shape, which may have other classes.

    The layers that give class scores take over the classes that both have, by name; the others
    keep their random weights. So do the heads of deep supervision if the model has none. The
    network may have fewer channels than the model, and fewer convolutions in a stage: it then
    starts with evenly spaced channels and the first convolutions. The log says which classes are
    taken over, which are new, and which are dropped, and whether layers were thinned or left out.

    Args:
        module: The network to train.
        model: The model; the first member of the network that has most of the classes is used,
            and of several such networks of one that sees a scan as this network does.
        classes: The classes to learn, by channel, background first.
        hosts: The organs relative to which the network sees a scan, if it is a lesion stage.

    Raises:
        InputError: The model's network has other layers or fewer channels, or the two share no
            class.
    """
    taken = _take_over(module, model, classes, hosts)
    said = describe_start(model, taken.classes, classes[1:])
    log.info("%s", "; ".join([said, *taken.smaller]))


def check_start(recipe: Recipe, model: Model, classes: Sequence[str] | None = None) -> None:
    """Check that a training of this recipe can start from a model, without the memory for it.

    Args:
        recipe: Network and training.
        model: The model.
        classes: The classes to learn, without the background; None for the model's.

    Raises:
        InputError: See :func:`load_start`.
        MissingExtraError: nnunetv2 is not installed.
    """
    named = [BACKGROUND, *(model.classes if classes is None else classes)]
    _take_over(built_on_meta(recipe.network, classes=len(named)), model, named, recipe.data.hosts)


@dataclass(frozen=True)
class _Taken:
    """What a network took over from a model.

    Attributes:
        classes: The foreground classes of the model's network.
        smaller: What was thinned or left out, in words.
    """

    classes: tuple[str, ...]
    smaller: tuple[str, ...]


def _take_over(module: Any, model: Model, classes: Sequence[str], hosts: Sequence[str]) -> _Taken:
    """Load the weights into the network."""
    torch = require("torch", extra="train", why="training")
    source = max(
        model.networks,
        key=lambda network: (
            len(set(classes) & set(network.spec.foreground)),
            bool(network.spec.relative_to) == bool(hosts),
        ),
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
    if not all(_is_further_convolution(name, names) for name in spare):
        raise InputError(
            f"{model.path}: is another network (it has {count(len(spare), 'tensor')} that this "
            f"recipe's lacks, {spare[0]} the first); {_WHAT_TO_DO}"
        )
    given = {
        names[name]: torch.from_numpy(values) for name, values in weights.items() if name in names
    }
    to, of = (list(channels) for channels in zip(*shared, strict=True))
    thinned = False
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            if names[name] != name:
                continue
            values, head = given.get(name), _HEAD in name
            if head and (values is None or not values.any()):
                continue
            if values is None or not _is_part(tuple(tensor.shape), tuple(values.shape), head=head):
                theirs = "lacks it" if values is None else f"has {tuple(values.shape)}"
                raise InputError(
                    f"{model.path}: is another network (this recipe's {name} is "
                    f"{tuple(tensor.shape)}, the model {theirs}); {_WHAT_TO_DO}"
                )
            chosen = _selected(values, tuple(tensor.shape), name=name)
            thinned |= chosen is not values
            if head:
                tensor[to] = chosen[of].to(tensor)
            else:
                tensor.copy_(chosen)
    convolutions = sum(name.endswith(".conv.weight") for name in spare)
    smaller = [
        *(["its channels are thinned evenly"] if thinned else []),
        *([f"{count(convolutions, 'convolution')} of it left out"] if spare else []),
    ]
    return _Taken(source.spec.foreground, tuple(smaller))


def _is_further_convolution(name: str, ours: Collection[str]) -> bool:
    """Whether a tensor is from a convolution more than this network has in the same stage.

    A stage's first convolution changes the number of channels; without one that follows it, the
    next stage still reads as many.
    """
    stage, block, rest = name.rpartition(".convs.")
    return bool(block) and f"{stage}.convs.0.{rest.partition('.')[2]}" in ours


def _is_part(ours: tuple[int, ...], theirs: tuple[int, ...], *, head: bool) -> bool:
    """Whether a tensor can be taken from a model's: the same kernel, and no more channels."""
    if len(ours) != len(theirs) or ours[2:] != theirs[2:]:
        return False
    channels = zip(ours[head:2], theirs[head:2], strict=True)
    return all(own <= other for own, other in channels)


def _selected(values: Any, shape: tuple[int, ...], *, name: str) -> Any:
    """The channels of a wider layer that a narrower one starts with, evenly spaced.

    Where a layer reads several tensors of equal width, each is thinned like the layer that wrote
    it. What is read is scaled by the share that is left, so that sums stay as large as they were.

    Args:
        values: A tensor of the model; channels are its first two axes.
        shape: The shape of the narrower network's. The classes of a head are not selected here.
        name: Its name.
    """
    transposed, head = ".transpconvs." in name, _HEAD in name
    for axis in range(int(head), min(len(shape), 2)):
        theirs, ours = values.shape[axis], shape[axis]
        if ours < theirs:
            values = values[(slice(None),) * axis + ([k * theirs // ours for k in range(ours)],)]
            reads = len(shape) > 1 and axis == (0 if transposed else 1)
            if reads:
                values = values * (theirs / ours)
    return values


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
