"""Predictions of several models, laid over each other."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from nnstudent.cohort.fuse import fuse
from nnstudent.cohort.uncertainty import Uncertainty, combine_uncertainty
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray


class Overlay:
    """One label map from the predictions of several models.

    A later model decides for every class that it knows, as the truth does over pseudo-labels.

    Attributes:
        labels: Ids of the label table, (z, y, x), uint8.
        uncertainty: Their uncertainty; None if it was not asked for.
    """

    def __init__(self, shape: Sequence[int], taxonomy: Taxonomy, *, uncertainty: bool) -> None:
        """Start with background.

        Args:
            shape: Voxels along z, y, x.
            taxonomy: The label table.
            uncertainty: Whether each prediction comes with its uncertainty.
        """
        self.labels: LabelArray = np.zeros(shape, np.uint8)
        self.uncertainty = Uncertainty.certain(shape) if uncertainty else None
        self._taxonomy = taxonomy

    def add(
        self, labels: LabelArray, *, known: Collection[int], uncertainty: Uncertainty | None
    ) -> None:
        """Lay a prediction over those before it.

        Args:
            labels: The prediction, (z, y, x).
            known: Ids of the classes that its model knows.
            uncertainty: Its uncertainty, if the overlay keeps it.
        """
        beneath = self.labels
        self.labels = fuse(labels, beneath, annotated=known, taxonomy=self._taxonomy)
        if self.uncertainty is not None and uncertainty is not None:
            self.uncertainty = combine_uncertainty(
                self.labels, labels, uncertainty, beneath=beneath, before=self.uncertainty
            )

    def revise(self, labels: LabelArray) -> None:
        """Replace the labels by those of a model that does not say how uncertain it is.

        Args:
            labels: The new labels, (z, y, x). Where they differ from those before, they count as
                certain, and what was there as the runner-up.
        """
        if self.uncertainty is not None:
            changed = labels != self.labels
            self.uncertainty = Uncertainty(
                np.where(changed, np.uint8(255), self.uncertainty.probability),
                np.where(changed, self.labels, self.uncertainty.runner_up),
            )
        self.labels = labels
