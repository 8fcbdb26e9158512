"""The specification of a network: grid, intensities, patch, classes and architecture, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from nnstudent.bundle.architectures import check
from nnstudent.errors import InputError
from nnstudent.serialization import Record
from nnstudent.volume import Shape, Spacing

Orientation = Literal["RAS", "stored"]
Scheme = Literal["ct", "zscore", "none", "rescale"]
SCHEMES: tuple[Scheme, ...] = ("ct", "zscore", "none", "rescale")
BACKGROUND = "background"
MAX_PATCH_VOXELS = 512**3
MAX_SPACING_MM = 1000.0
MAX_SHIFT = 10.0  # of a logit; farther out a class would be everywhere or nowhere


@dataclass(frozen=True)
class Normalization:
    """How intensities are normalized.

    Attributes:
        scheme: ``ct`` clips and standardizes by the figures below; ``zscore`` standardizes by the
            image's own mean and standard deviation; ``rescale`` maps its minimum and maximum to 0
            and 1; ``none`` leaves it as it is.
        mean: Mean of the training foreground, in HU; ``ct`` only, as are the next three.
        std: Standard deviation of the training foreground, in HU.
        lower: Values below this are raised to it, in HU.
        upper: Values above this are lowered to it, in HU.
        within_mask: ``zscore`` uses and changes only voxels that are not zero.
    """

    scheme: Scheme
    mean: float = 0.0
    std: float = 1.0
    lower: float = 0.0
    upper: float = 0.0
    within_mask: bool = False

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise InputError(f"normalization {self.scheme!r}; expected one of {', '.join(SCHEMES)}")


@dataclass(frozen=True)
class Resampling:
    """How arrays are resampled, as by nnU-Net's ``resample_data_or_seg_to_shape``.

    Attributes:
        order: Spline order, 0 to 5.
        order_z: Spline order along the coarse axis, if that is resampled separately.
        force_separate_z: Whether the coarse axis is resampled separately: always (True), never
            (False), or depending on the anisotropy (None).
        anisotropy: The coarse axis is resampled separately if its spacing is over this many times
            the finest.
    """

    order: int = 3
    order_z: int = 0
    force_separate_z: bool | None = None
    anisotropy: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.order <= 5 or not 0 <= self.order_z <= 5:
            raise InputError(
                f"resampling of order {self.order} and {self.order_z} along z; expected 0 to 5"
            )


@dataclass(frozen=True)
class Architecture:
    """How torch builds the network, as in nnU-Net's plans.

    Attributes:
        class_name: Dotted path of the network's class.
        kwargs: Its keyword arguments, plain data.
        imported: Which of them are themselves dotted paths of classes.

    Raises:
        InputError: The table in :mod:`nnstudent.bundle.architectures` has no such class, or the
            class takes no such argument.
    """

    class_name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    imported: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self.class_name, self.kwargs, self.imported)


@dataclass(frozen=True)
class HostRule:
    """The rule by which a lesion stage's results are kept in one organ.

    Attributes:
        threshold: Probability from which a voxel counts as lesion, 0 to 1.
        least_ml: Smaller components are discarded, in ml.
    """

    threshold: float = 0.5
    least_ml: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1 or not 0 <= self.least_ml < math.inf:
            raise InputError(
                f"a lesion threshold of {self.threshold} and at least {self.least_ml} ml; "
                "expected 0 to 1, and 0 ml or more"
            )


@dataclass(frozen=True)
class NetworkSpec:
    """One network, valid once constructed.

    Attributes:
        patch: Size of a window in voxels, in the network's axis order.
        spacing_mm: Spacing of the network's grid, in the network's axis order.
        orientation: ``RAS``: the image is reoriented to canonical axes first; ``stored``: it is
            used as stored.
        transpose: The network's axes as indices into (z, y, x).
        normalization: Intensities.
        image_resampling: From the image to the network's grid.
        score_resampling: Of the logits, to the image's grid.
        classes: Class name by channel; channel 0 is ``background``.
        architecture: How torch builds it.
        mirror_axes: The network's axes along which training mirrored images: 0, 1, 2.
        source: Its origin: configuration, trainer, fold, …; for people only.
        regions: Whether classes may overlap. A voxel then has the last class whose logit is above
            the background's, which is 0, instead of the one with the highest.
        context_mm: For the second stage of a cascade: it sees only the box around what the networks
            before it found of its classes, and this much beyond. None: it sees the whole image.
        hosts: For a lesion stage: the organs in and around which it looks for lesions, each with
            its rule. It sees the box around them, like a cascade's second stage, and decides only
            about lesions, which are laid over the organs. Empty for any other network.
        relative_to: For a lesion stage that sees intensities relative to organs
            (:mod:`nnstudent.inference.host_view`): these organs, hosts or not. Empty: it sees the
            image.
        lesions_only: Whether it decides only about lesions, which are laid over the labels of the
            networks before it, although it knows organs. A lesion is where lesions are more likely
            than everything else together.
        logit_shift: By class, what is added to its logits as the last step of the network. Above 0
            its border lies farther out than the network learned it, below 0 farther in.
        finer_mm: Spacing of a second grid, as ``spacing_mm``, on which it looks again at the box
            around what it found; the mean of both looks then decides
            (:mod:`nnstudent.inference.second_look`). None: it looks once.
    """

    patch: Shape
    spacing_mm: Spacing
    orientation: Orientation
    transpose: tuple[int, int, int]
    normalization: Normalization
    image_resampling: Resampling
    score_resampling: Resampling
    classes: tuple[str, ...]
    architecture: Architecture
    mirror_axes: tuple[int, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    regions: bool = False
    context_mm: float | None = None
    hosts: Mapping[str, HostRule] = field(default_factory=dict)
    relative_to: tuple[str, ...] = ()
    lesions_only: bool = False
    logit_shift: Mapping[str, float] = field(default_factory=dict)
    finer_mm: Spacing | None = None

    def __post_init__(self) -> None:
        if len(self.patch) != 3 or min(self.patch) < 1:
            raise InputError(
                f"a patch of {self.patch}; expected three sizes of at least 1 "
                "(2D networks are not supported)"
            )
        if math.prod(self.patch) > MAX_PATCH_VOXELS:
            raise InputError(
                f"a patch of {self.patch}; at most {MAX_PATCH_VOXELS:,} voxels are supported"
            )
        for spacing in (self.spacing_mm, self.finer_mm):
            if spacing is None:
                continue
            if len(spacing) != 3 or not all(0 < mm <= MAX_SPACING_MM for mm in spacing):
                raise InputError(
                    f"a spacing of {spacing} mm; "
                    f"expected three positive lengths, at most {MAX_SPACING_MM:g}"
                )
        if self.finer_mm is not None:
            self._check_second_look()
        if sorted(self.transpose) != [0, 1, 2]:
            raise InputError(f"transpose {self.transpose}; expected 0, 1 and 2 in some order")
        if not set(self.mirror_axes) <= {0, 1, 2}:
            raise InputError(
                f"mirroring along axes {self.mirror_axes}; expected some of 0, 1 and 2"
            )
        if self.orientation not in ("RAS", "stored"):
            raise InputError(f"orientation {self.orientation!r}; expected RAS or stored")
        if not 2 <= len(self.classes) <= 255 or self.classes[0] != BACKGROUND:
            raise InputError(f"classes {self.classes}; expected {BACKGROUND} and 1 to 254 more")
        if self.context_mm is not None and not 0 <= self.context_mm < math.inf:
            raise InputError(f"context_mm = {self.context_mm}; expected a length in mm, 0 or more")
        if self.hosts and self.context_mm is None:
            raise InputError(
                "a lesion stage without context_mm; "
                "expected how far around its hosts it sees, in mm"
            )
        if self.lesions_only and self.regions:
            raise InputError(
                "lesions_only with classes that overlap; expected classes that exclude each other"
            )
        if self.relative_to and self.normalization.scheme != "ct":
            raise InputError(
                f"intensities relative to {', '.join(self.relative_to)} with normalization "
                f"{self.normalization.scheme!r}; expected ct, which knows HU"
            )
        for name, shift in self.logit_shift.items():
            if name not in self.foreground or not abs(shift) <= MAX_SHIFT:
                raise InputError(
                    f"a logit shift of {shift:g} for {name}; expected {-MAX_SHIFT:g} to "
                    f"{MAX_SHIFT:g}, for some of {', '.join(self.foreground)}"
                )
        if len(set(self.classes)) != len(self.classes):
            raise InputError(f"classes {self.classes}; a name occurs twice")

    def _check_second_look(self) -> None:
        """Refuse a second look of a network whose two looks would not see the same."""
        why = {
            "is the second stage of another one": self.context_mm is not None,
            "has classes that overlap": self.regions,
            "takes images as they are stored": self.orientation != "RAS",
            "normalizes by the whole image": self.normalization.scheme not in ("ct", "none"),
        }
        for reason, is_so in why.items():
            if is_so:
                raise InputError(f"a second look of a network that {reason}; it can look once only")

    @property
    def foreground(self) -> tuple[str, ...]:
        """Class names without the background, by channel."""
        return self.classes[1:]

    def to_dict(self) -> dict[str, Any]:
        """The specification as plain data, which :meth:`from_dict` reads."""
        data: dict[str, Any] = _plain(asdict(self))
        # What few models have is left out, so that it is not part of the identity of the others.
        if not self.regions:
            del data["regions"]
        if self.context_mm is None:
            del data["context_mm"]
        if not self.hosts:
            del data["hosts"]
        if not self.relative_to:
            del data["relative_to"]
        if not self.lesions_only:
            del data["lesions_only"]
        if not self.logit_shift:
            del data["logit_shift"]
        if self.finer_mm is None:
            del data["finer_mm"]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NetworkSpec:
        """Read a specification from plain data.

        Raises:
            InputError: A key is missing, unknown or of the wrong type.
        """
        record = Record(data, "a network's description")
        architecture = Record(record.get("architecture", dict), f"{record.where}: architecture")
        return cls(
            patch=record.get("patch", Shape),
            spacing_mm=record.get("spacing_mm", Spacing),
            orientation=record.get("orientation", Orientation),
            transpose=record.get("transpose", tuple[int, int, int]),
            normalization=record.get("normalization", Normalization),
            image_resampling=record.get("image_resampling", Resampling),
            score_resampling=record.get("score_resampling", Resampling),
            classes=record.get("classes", tuple[str, ...]),
            architecture=Architecture(
                architecture.get("class_name", str),
                architecture.get("kwargs", dict),
                architecture.get("imported", tuple[str, ...]),
            ),
            mirror_axes=record.get("mirror_axes", tuple[int, ...], ()),
            source=record.get("source", dict, {}),
            regions=record.get("regions", bool, False),
            # Older bundles name it near_mm.
            context_mm=record.get(
                "near_mm" if "near_mm" in data else "context_mm", float | None, None
            ),
            hosts=record.get("hosts", dict[str, HostRule], {}),
            relative_to=record.get("relative_to", tuple[str, ...], ()),
            lesions_only=record.get("lesions_only", bool, False),
            logit_shift=record.get("logit_shift", dict[str, float], {}),
            finer_mm=record.get("finer_mm", Spacing | None, None),
        )


def _plain(data: Any) -> Any:
    """Turn tuples into lists, so that what is written equals what is read."""
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items()}
    return [_plain(value) for value in data] if isinstance(data, list | tuple) else data
