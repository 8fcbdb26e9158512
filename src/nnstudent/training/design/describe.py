"""Describe a recipe without training: parameters, operations, epochs and augmentations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from nnstudent.errors import require
from nnstudent.training.plans import architecture
from nnstudent.training.recipe import Network, Recipe
from nnstudent.training.task import Task

KINDS = {
    "plain": "plain U-Net",
    "separable": "U-Net of separable convolutions",
    "strided_stem": "U-Net with a strided stem",
}


@dataclass(frozen=True)
class Description:
    """One model, described.

    Attributes:
        task: ``organs``, ``tumor`` or ``student``.
        classes: Classes without background.
        cases: Cases to learn from.
        folds: Number of models.
        parameters: Weights of one model.
        gflop: Operations of one window in 10⁹; a multiplication and an addition count as two.
        augmentations: Transforms as they are built, in order.
        recipe: The recipe.
        partly: Number of cases in which not all classes are annotated.
    """

    task: str
    classes: int
    cases: int
    folds: int
    parameters: int
    gflop: float
    augmentations: tuple[str, ...]
    recipe: Recipe
    partly: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The description as plain data."""
        return {
            "task": self.task,
            "classes": self.classes,
            "cases": self.cases,
            "partly_annotated": self.partly,
            "folds": self.folds,
            "parameters": self.parameters,
            "gflop": self.gflop,
            "augmentations": list(self.augmentations),
            "recipe": self.recipe.to_dict(),
        }

    def lines(self) -> list[str]:
        """The description as lines of text."""
        network, data, training = self.recipe.network, self.recipe.data, self.recipe.training
        steps = training.epochs * training.iterations
        optimizer = (
            f"SGD, Nesterov momentum {training.momentum:g}"
            if training.optimizer == "sgd"
            else "AdamW"
        )
        models = f"{self.folds} fold{'s' if self.folds != 1 else ''}"
        loss = "Dice + cross-entropy" + (
            " weighted by rarity" if training.class_weights == "rarity" else ""
        )
        schedule = (
            f"lr {training.lr:g}·(1 − epoch/{training.epochs})^0.9"
            if training.schedule == "poly"
            else f"lr {training.lr:g}, cosine"
        )
        return [
            f"{self.task}: {models}, {self.cases} cases, {self.classes} classes",
            f"  network       {KINDS[network.kind]}, features {_join(network.features)}, "
            f"strides {' '.join(map(_times, network.strides))}",
            f"  parameters    {self.parameters:,}",
            f"  operations    {self.gflop:.1f} GFLOP a window",
            f"  window        {_times(data.patch)} at {_times(data.spacing_mm)} mm (z, y, x)",
            f"  training      {training.epochs} epochs of {training.iterations} steps "
            f"({steps:,}), batch {data.batch}",
            f"  optimizer     {optimizer}, {schedule}, weight decay {training.weight_decay:g}",
            f"  loss          {loss}{', deep supervision' if training.deep_supervision else ''}",
            *([f"  open classes  {self._open()}"] if self.partly else []),
            f"  augmentation  {self.augmentations[0] if self.augmentations else 'none'}",
            *(f"                {item}" for item in self.augmentations[1:]),
        ]

    def _open(self) -> str:
        some = f"{self.partly} of {self.cases} cases lack classes"
        if self.recipe.training.partial == "marginal":
            return f"marginal loss with exclusion; {some}, which may hide in the background"
        return f"background; {some}, which are taught not to be there"


def describe(task: Task) -> Description:
    """Describe what a task would train.

    Raises:
        MissingExtraError: nnunetv2 is not installed.
    """
    parameters, gflop = count(
        task.recipe.network, task.recipe.data.patch, classes=len(task.classes) + 1
    )
    built = built_augmentations(task.recipe)
    return Description(
        task.name,
        len(task.classes),
        len(task.cases),
        task.folds,
        parameters,
        gflop,
        built,
        task.recipe,
        len(task.partly_annotated),
    )


def count(network: Network, patch: Sequence[int], *, classes: int) -> tuple[int, float]:
    """Count parameters, and GFLOP of one window, without computing anything.

    The network is built without memory for its weights.

    Args:
        network: The network.
        patch: Voxels of the window, (z, y, x).
        classes: Channels of the output, background included.
    """
    return _counted(network, tuple(patch), classes)


# Each fold and each model of one recipe asks again, and an answer takes a third of a second.
@lru_cache(maxsize=64)
def _counted(network: Network, patch: tuple[int, ...], classes: int) -> tuple[int, float]:
    torch = require("torch", extra="train", why="describing a network")
    flops = require("torch.utils.flop_counter", extra="train", why="describing a network")
    model = built_on_meta(network, classes=classes)
    with (
        torch.device("meta"),
        flops.FlopCounterMode(display=False) as counter,
        torch.no_grad(),
    ):
        model(torch.empty(1, 1, *patch))
    # By convention biases count as parameters, but not as operations.
    return sum(weight.numel() for weight in model.parameters()), counter.get_total_flops() / 1e9


def built_on_meta(network: Network, *, classes: int) -> Any:
    """Return the network as a torch module that has shapes, but no memory for its weights.

    Args:
        network: The network.
        classes: Channels of the output, background included.

    Raises:
        MissingExtraError: nnunetv2 is not installed.
    """
    torch = require("torch", extra="train", why="describing a network")
    plans = require(
        "nnunetv2.utilities.get_network_from_plans", extra="train", why="describing a network"
    )
    built = architecture(network)
    with torch.device("meta"):
        return plans.get_network_from_plans(
            built["network_class_name"],
            built["arch_kwargs"],
            built["_kw_requires_import"],
            1,
            classes,
            allow_init=False,
            deep_supervision=False,
        )


def built_augmentations(recipe: Recipe) -> tuple[str, ...]:
    """The augmentations of a training window as they are built, one line each, in order."""
    require("batchgeneratorsv2", extra="train", why="describing augmentation")
    from nnstudent.training.augment.transforms import training_transforms

    lines: list[str] = []
    for transform in training_transforms(recipe, None).transforms:
        inner = getattr(transform, "transform", transform)
        name = type(inner).__name__.removesuffix("Transform")
        if name == "Spatial":
            lines.extend(
                _geometry(inner, turned_by="in slices" if recipe.training.in_plane else "in space")
            )
        elif hasattr(transform, "apply_probability"):
            lines.append(f"{name}, p {transform.apply_probability:g}, {_range(inner)}")
    return tuple(lines)


def _geometry(spatial: Any, *, turned_by: str) -> list[str]:
    import math

    lines = []
    if spatial.p_rotation > 0:
        low, high = (math.degrees(angle) for angle in spatial.rotation)
        lines.append(f"Rotation {turned_by}, p {spatial.p_rotation:g}, {low:.0f} to {high:.0f}°")
    if spatial.p_scaling > 0:
        lines.append(
            f"Scaling, p {spatial.p_scaling:g}, {spatial.scaling[0]:g} to {spatial.scaling[1]:g}"
        )
    if spatial.p_elastic_deform > 0:
        low, high = spatial.elastic_deform_magnitude
        lines.append(f"Elastic, p {spatial.p_elastic_deform:g}, up to {high:g} voxels")
    return lines


def _range(transform: Any) -> str:
    for name in (
        "noise_variance",
        "blur_sigma",
        "multiplier_range",
        "contrast_range",
        "scale",
        "gamma",
    ):
        if hasattr(transform, name):
            value = getattr(transform, name)
            low, high = getattr(value, "contrast_range", value)
            inverted = ", inverted" if getattr(transform, "p_invert_image", 0) else ""
            return f"{low:g} to {high:g}{inverted}"
    return "always"


def _join(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _times(values: Sequence[float]) -> str:
    return "×".join(f"{value:g}" for value in values)
