"""Label maps on the slices of their series, and how highdicom writes DICOM objects of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.errors import InputError
from nnstudent.io.atomic import replacing
from nnstudent.io.dicom.origin import Origin, read_origin
from nnstudent.io.dicom.read import quiet
from nnstudent.io.dicom.series import Series
from nnstudent.io.dicom.source_headers import name_sop_classes
from nnstudent.io.terms import meaning
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.types import LabelArray
from nnstudent.volume import Volume

# Added to the source's series number, so that archives list the result after the scanner's series.
SERIES_NUMBER = 1000


@dataclass(frozen=True)
class Algorithm:
    """What made a segmentation, for people who find it in an archive.

    Attributes:
        name: Name of the model.
        version: Version of this package.
        model: The model's identity, a hash; that of the label map where no model is known.
        alone: Whether it worked alone; otherwise a person took part, or may have.
    """

    name: str
    version: str
    model: str
    alone: bool = True

    @property
    def generation(self) -> str:
        """DICOM's word for it."""
        return "AUTOMATIC" if self.alone else "SEMIAUTOMATIC"

    @property
    def reviewed(self) -> str:
        """What is said of the content; at most 64 characters."""
        if self.alone:
            return "Made by a machine, not reviewed"
        return "A label map that may have been corrected by hand"


@dataclass(frozen=True)
class Identity:
    """The UIDs of an object.

    Attributes:
        series: Series instance UID.
        instance: SOP instance UID.
    """

    series: str
    instance: str

    @classmethod
    def new(cls) -> Identity:
        """Return UIDs that no other object has."""
        return cls(*(f"2.25.{uuid.uuid4().int}" for _ in range(2)))


@dataclass(frozen=True, eq=False)
class LabeledSeries:
    """A series and its labels, valid once constructed: everything that a DICOM object states.

    Attributes:
        series: The series that was segmented.
        origin: What the object copies from the series.
        algorithm: What made the labels.
        planes: Class ids on the series' own slices, (slice, row, column).
        classes: The classes that were found, in the table's order; at least one.
        notes: What to say of a class, by its name; in ASCII.
        identity: The UIDs of its segmentation object.
    """

    series: Series
    origin: Origin
    algorithm: Algorithm
    planes: LabelArray
    classes: tuple[LabelClass, ...]
    notes: Mapping[str, str] = field(default_factory=dict)
    identity: Identity = field(default_factory=Identity.new)

    @classmethod
    def of(
        cls,
        labels: Volume,
        series: Series,
        *,
        taxonomy: Taxonomy,
        algorithm: Algorithm,
        origin: Origin | None = None,
        notes: Mapping[str, str] | None = None,
        identity: Identity | None = None,
    ) -> LabeledSeries:
        """Carry labels to the slices of their series.

        Args:
            labels: The labels, on the grid of ``series.volume``.
            series: The series that was segmented.
            taxonomy: The label table: names, codes, colors.
            algorithm: What made the labels.
            origin: What the object copies from the series; None to read it now.
            notes: What to say of a class, by its name; in ASCII.
            identity: The UIDs of its segmentation object; None for new ones.

        Raises:
            InputError: No class was found, or the series lacks a UID.
            GeometryError: ``labels`` is on another grid.
        """
        origin = origin or read_origin(series)
        planes = series.stack.on_slices(labels)
        counts = np.bincount(planes.ravel(), minlength=256)
        classes = tuple(item for item in taxonomy if counts[item.id])
        if not classes:
            raise InputError(
                f"{series.stack.slices[0].path.parent}: nothing was found, and a DICOM object "
                "without a segment is not valid; write nifti instead"
            )
        return cls(
            series,
            origin,
            algorithm,
            planes,
            classes,
            dict(notes or {}),
            identity or Identity.new(),
        )


def write_by_highdicom(
    path: Path, labeled: LabeledSeries, make: Callable[[], Any], *, unable: str, instead: str
) -> None:
    """Write the object that highdicom makes, in the study of the series.

    Args:
        path: The file to write.
        labeled: The labels and their series.
        make: Makes the object, with the patient and study still empty.
        unable: What highdicom cannot do if it refuses, such as "refer to".
        instead: What to write then.

    Raises:
        InputError: highdicom refuses the series.
        OutputError: ``path`` cannot be written.
    """
    with quiet():
        try:
            made = make()
        # The message of the error may quote the patient.
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            raise InputError(
                f"{path}: highdicom cannot {unable} this series ({type(error).__name__}); "
                f"write {instead}"
            ) from error
        names = [meaning(item) for item in labeled.classes]
        labeled.origin.describe(made, more=[labeled.algorithm.name, *names])
        name_sop_classes(made, labeled.origin)
        with replacing(path) as temporary:
            made.save_as(temporary)
