"""Recipes: a network and its training as data. Imports neither torch nor nnunetv2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nnstudent.errors import InputError
from nnstudent.serialization import from_plain, to_plain

Triple = tuple[int, int, int]
PartialLabels = Literal["background", "marginal"]  # see Training.partial

# The augmentations by name, with nnU-Net's own probability and range as defaults; the last two are
# not nnU-Net's. The unit of the range is that of the transform: degrees, factor, largest
# displacement in voxels, variance, sigma in voxels, factor, …
AUGMENTATIONS: dict[str, tuple[float, float, float]] = {
    "rotation": (0.2, -30.0, 30.0),
    "scaling": (0.2, 0.7, 1.4),
    "elastic": (0.2, 0.0, 4.0),
    "noise": (0.1, 0.0, 0.1),
    "blur": (0.2, 0.5, 1.0),
    "brightness": (0.15, 0.75, 1.25),
    "contrast": (0.15, 0.75, 1.25),
    "low_resolution": (0.25, 0.5, 1.0),
    "gamma": (0.3, 0.7, 1.5),
    "gamma_inverted": (0.1, 0.7, 1.5),
    "organ_intensity": (0.2, -1.0, 1.0),
    "repaint": (0.2, -1.0, 1.0),
}


@dataclass(frozen=True)
class Augmentation:
    """One augmentation: its probability, and the range from which its strength is drawn.

    Attributes:
        name: One of :data:`AUGMENTATIONS`. There is no mirroring: left and right are different
            organs.
        p: Probability for each sample.
        low: Lower end of the range, in the transform's own unit.
        high: Upper end.
    """

    name: str
    p: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.name not in AUGMENTATIONS:
            raise InputError(f"no augmentation {self.name!r}; there are {', '.join(AUGMENTATIONS)}")
        if not 0 <= self.p <= 1 or self.low > self.high:
            raise InputError(
                f"augmentation {self.name}: p = {self.p}, range {self.low} to {self.high}; "
                "expected p from 0 to 1, and low before high"
            )


@dataclass(frozen=True)
class Network:
    """A U-Net. Lists have one entry per resolution, finest first, except ``decoder_convolutions``.

    Attributes:
        features: Feature maps.
        strides: Downsampling into each resolution (z, y, x); the first is 1, 1, 1.
        kernels: Kernel sizes (z, y, x); a single entry applies to all.
        encoder_convolutions: Convolutions in the encoder; a single entry applies to all.
        decoder_convolutions: Convolutions in the decoder, in the order of nnU-Net's plans: from the
            second coarsest resolution to the finest; a single entry applies to all.
        kind: ``plain``: nnU-Net's own. ``separable``: each convolution is split into a spatial and
            a pointwise one. ``strided_stem``: the encoder starts at the second resolution, and the
            finest has convolutions in the decoder only.
    """

    features: tuple[int, ...]
    strides: tuple[Triple, ...]
    kernels: tuple[Triple, ...] = ((3, 3, 3),)
    encoder_convolutions: tuple[int, ...] = (2,)
    decoder_convolutions: tuple[int, ...] = (2,)
    kind: Literal["plain", "separable", "strided_stem"] = "plain"

    def __post_init__(self) -> None:
        stages = len(self.features)
        if stages < 2 or len(self.strides) != stages or self.strides[0] != (1, 1, 1):
            raise InputError(
                f"a network of features {list(self.features)} and strides "
                f"{[list(s) for s in self.strides]}; expected at least two resolutions, "
                "a stride for each, and 1, 1, 1 for the first"
            )
        for name, least in (
            ("kernels", stages),
            ("encoder_convolutions", stages),
            ("decoder_convolutions", stages - 1),
        ):
            if len(getattr(self, name)) not in (1, least):
                raise InputError(
                    f"network: {name} has {len(getattr(self, name))} entries; expected 1 or {least}"
                )

    def whole(self, name: str) -> list[Any]:
        """The list of this name, with an entry for every resolution."""
        values = list(getattr(self, name))
        wanted = len(self.features) - (name == "decoder_convolutions")
        return values * wanted if len(values) == 1 else values

    @property
    def downsampling(self) -> Triple:
        """Total downsampling, (z, y, x); a patch is a multiple of it."""
        z, y, x = 1, 1, 1
        for stride in self.strides:
            z, y, x = z * stride[0], y * stride[1], x * stride[2]
        return z, y, x


@dataclass(frozen=True)
class Data:
    """What the network sees.

    Attributes:
        spacing_mm: Spacing that everything is resampled to, (z, y, x).
        patch: Voxels of one window, (z, y, x).
        batch: Windows in a training step.
        image_order: Order of the spline that resamples images.
        label_order: Order for label maps: 0 is nearest neighbor, 1 linear by class.
        separate_z: Resample z separately, by nearest neighbor. None: if the spacing is anisotropic
            by more than 3, as nnU-Net does.
        foreground: Share of windows that are centered on a class of the case, organs equally often.
        lesion_oversampling: How many times as often as an organ a lesion is drawn for these
            windows.
        window_hu: Range of intensities that the network sees, in HU; values beyond it are clipped.
            None: that of 99 % of the labeled voxels, as in nnU-Net.
        focus: Classes that these windows are centered on; a name that is given twice is drawn twice
            as often. Empty: all classes of the case.
        hosts: For a lesion stage: the network sees each voxel relative to the nearest of these
            organs, and nothing far from them (:mod:`nnstudent.inference.host_view`). It can then
            run behind a model that segments them, and not alone. Empty: it sees the image.
    """

    spacing_mm: tuple[float, float, float]
    patch: Triple
    batch: int = 2
    image_order: int = 3
    label_order: int = 1
    separate_z: bool | None = None
    foreground: float = 0.33
    lesion_oversampling: float = 1.0
    window_hu: tuple[float, float] | None = None
    focus: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.window_hu is not None and self.window_hu[0] >= self.window_hu[1]:
            raise InputError(
                f"window_hu = {list(self.window_hu)}; expected the lower end first, in HU"
            )
        if self.lesion_oversampling < 0:
            raise InputError(
                f"lesion_oversampling = {self.lesion_oversampling}; "
                "expected how many times as often as an organ, 0 or more"
            )


@dataclass(frozen=True)
class Training:
    """How the network learns.

    Attributes:
        epochs: Number of epochs.
        iterations: Steps in an epoch.
        validation_batches: Validation batches at the end of each epoch.
        optimizer: ``sgd`` with Nesterov momentum, or ``adamw``.
        lr: Learning rate at the start.
        momentum: For ``sgd``.
        weight_decay: Weight decay.
        schedule: ``poly``: lr·(1 − epoch/epochs)^0.9; ``cosine``: half a cosine down to 0.
        warmup: Steps in which the learning rate rises linearly from 0.
        class_weights: ``equal``, or ``rarity``: cross-entropy weighted by (a class's share of
            voxels / that of the background)^-0.5, from 1 to ``most_weight``.
        most_weight: See ``class_weights``.
        lesion_weight: Factor on the weights of lesion classes, whichever rule gives them.
        fade_weights: Let all these weights fall to 1 in the second half of the training: with them
            rare classes are learned early, but every border is drawn too far out.
        batch_dice: Compute Dice over the whole batch instead of averaging over its samples.
        partial: The treatment of a class that nobody looked for in a case. ``background``: it is
            background there. ``marginal``: the loss leaves it open
            (:mod:`nnstudent.training.losses.dice_ce`), and organ teachers learn from every case
            with at least one organ annotated instead of from the complete ones only.
        deep_supervision: A loss at each resolution; the finest has weight 1, each coarser one half
            of the one before.
        coarsest_loss: Whether the coarsest of these losses counts as well; nnU-Net gives it weight
            0.
        gradient_clip: Largest norm of the gradient.
        precision: ``fp32``; ``mixed``: half precision if the processor supports it, otherwise fp32.
        augment: Augmentations, in the order applied; geometry always comes first.
        cutmix: Share of windows in which a box is replaced by that of the last window with the same
            classes annotated, 0 to 1.
        copy_paste: Share of windows that receive a lesion of an earlier one
            (:mod:`nnstudent.training.augment.copy_paste`), 0 to 1.
        paint_lesions: Share of windows that receive painted lesions
            (:mod:`nnstudent.training.augment.lesions`), 0 to 1; as many receive look-alikes. The
            window needs an organ that can bear one.
        paint_most: Largest number of lesions, and of look-alikes, that such a window receives; with
            more of them, a network sees more small ones in the same time.
        replay: Share of steps that repeat an earlier window with a false-positive lesion
            (:mod:`nnstudent.training.augment.replay`) instead of using a new one, 0 to 1.
        ema: The model is the moving average of the weights over the steps, which keeps this share
            of itself at each step, such as 0.999; 0: the model is the weights of the last step.
        distill: Share of the loss that follows the teachers' probabilities instead of the label, 0
            to 1 (:mod:`nnstudent.training.losses.distillation`); needs ``label --probability``.
        in_plane: Rotate and scale slices only, as nnU-Net does for patches flatter than 1 : 3.
        label_interpolation: How label maps are rotated: ``linear`` by class (as nnU-Net) or
            ``nearest`` (much faster).
        held_out: Share of the fully labeled cases that a student is validated on, if there are at
            least five of them; with fewer it learns from all, and is validated on those.
        true_share: Least share of the windows that is drawn from cases whose labels are all a
            person's, 0 to 1, however many pseudo-labeled cases there are; these windows are spread
            evenly over them. 0: every case is drawn as often as another.
        checkpoint_seconds: Least time between checkpoints from which a killed training resumes.
        seed: Seed of initialization, sampling and augmentation.
    """

    epochs: int
    iterations: int = 250
    validation_batches: int = 50
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.99
    weight_decay: float = 3e-5
    schedule: Literal["poly", "cosine"] = "poly"
    warmup: int = 0
    class_weights: Literal["equal", "rarity"] = "equal"
    most_weight: float = 40.0
    lesion_weight: float = 1.0
    fade_weights: bool = False
    batch_dice: bool = False
    partial: PartialLabels = "background"
    deep_supervision: bool = True
    coarsest_loss: bool = False
    gradient_clip: float = 12.0
    precision: Literal["fp32", "mixed"] = "mixed"
    augment: tuple[Augmentation, ...] = ()
    cutmix: float = 0.0
    copy_paste: float = 0.0
    paint_lesions: float = 0.0
    paint_most: int = 4
    replay: float = 0.0
    ema: float = 0.0
    distill: float = 0.0
    in_plane: bool = False
    label_interpolation: Literal["linear", "nearest"] = "linear"
    held_out: float = 0.2
    true_share: float = 0.0
    checkpoint_seconds: float = 600.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.iterations, self.validation_batches) < 1:
            raise InputError(
                f"training of {self.epochs} epochs of {self.iterations} steps with "
                f"{self.validation_batches} validation batches; expected at least 1 of each"
            )
        if self.paint_most < 1:
            raise InputError(f"paint_most = {self.paint_most}; expected at least 1")
        if self.lesion_weight <= 0:
            raise InputError(f"lesion_weight = {self.lesion_weight}; expected a factor above 0")
        for name in ("cutmix", "copy_paste", "paint_lesions", "replay", "distill", "true_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} = {getattr(self, name)}; expected 0 to 1")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema = {self.ema}; expected 0 to under 1")
        if self.distill and self.label_interpolation != "nearest":
            raise InputError(
                'distill with label_interpolation = "linear"; set "nearest", because maps of '
                "uncertainty are rotated too and have no classes"
            )


@dataclass(frozen=True)
class Recipe:
    """A network, its data and its training.

    Raises:
        InputError: The patch does not fit the network's downsampling.
    """

    network: Network
    data: Data
    training: Training

    def __post_init__(self) -> None:
        if any(
            size % step
            for size, step in zip(self.data.patch, self.network.downsampling, strict=True)
        ):
            raise InputError(
                f"patch {list(self.data.patch)} for a network that downsamples by "
                f"{list(self.network.downsampling)}; "
                "each size of the patch must be a multiple of it"
            )

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain data, which :meth:`from_dict` reads."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str = "recipe") -> Recipe:
        """Read a recipe from plain data.

        Args:
            data: Tables ``network``, ``data`` and ``training``; ``training.augment`` is a list of
                names or a table of name → {p, low, high}, in which nnU-Net's values are defaults.
            where: Name of the data, for errors.

        Raises:
            InputError: A key is unknown, missing or of the wrong type, or the values contradict
                each other.
        """
        plain = {
            key: dict(value) if isinstance(value, Mapping) else value for key, value in data.items()
        }
        training = plain.get("training")
        if isinstance(training, dict) and "augment" in training:
            training["augment"] = _augmentations(training["augment"], f"{where}.training.augment")
        recipe: Recipe = from_plain(cls, plain, where=where)
        return recipe


@dataclass(frozen=True)
class Teaching:
    """The teachers, and how each is trained.

    Attributes:
        organs: The recipe of the organ teachers.
        tumor: The recipe of the tumor model; None for that of the organ teachers.
        folds: Number of organ teachers.
        tumor_folds: Number of tumor models.
        tumor_organs: Whether the tumor model also learns the organs that are annotated in all its
            cases; only its lesions are used.
    """

    organs: Recipe
    tumor: Recipe | None = None
    folds: int = 5
    tumor_folds: int = 1
    tumor_organs: bool = False


def _augmentations(value: Any, where: str) -> list[dict[str, Any]]:
    rows: list[tuple[str, Mapping[str, Any]]]
    if isinstance(value, Mapping):
        rows = list(value.items())
    elif isinstance(value, list | tuple):
        rows = [
            (row["name"], row) if isinstance(row, Mapping) and "name" in row else (row, {})
            for row in value
        ]
    else:
        raise InputError(
            f"{where}: {value!r}; expected a list of names or a table of name = {{p, low, high}}"
        )
    complete = []
    for name, given in rows:
        if name not in AUGMENTATIONS or not isinstance(given, Mapping):
            raise InputError(
                f"{where}: no augmentation {name!r}; there are {', '.join(AUGMENTATIONS)}"
            )
        p, low, high = AUGMENTATIONS[name]
        complete.append({"p": p, "low": low, "high": high} | dict(given) | {"name": name})
    return complete
