"""Making one synthetic scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnstudent.phantom.acquisition import Scan, draw_scan, find_scan_preset, to_stored_axes
from nnstudent.phantom.anatomy import anatomy_layers
from nnstudent.phantom.grid import make_space, table_layers
from nnstudent.phantom.patient import Patient, draw_patient
from nnstudent.phantom.render import render
from nnstudent.phantom.tissues import draw_tissues
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """One synthetic scan, with all volumes on the same grid.

    Attributes:
        image: HU, int16.
        truth: All organs and lesions, uint8.
        organs: The organs without lesions, uint8; a lesion has the id of its host.
        patient: The patient: build, sex, contrast phase, gallbladder, lesions.
        scan: The scan: spacing, axes, noise, whether the whole abdomen is in view.
    """

    image: Volume
    truth: Volume
    organs: Volume
    patient: Patient
    scan: Scan


def make_case(
    seed: int | np.random.SeedSequence,
    *,
    preset: str = "standard",
    tumor: bool | None = None,
    slices: int | None = None,
) -> PhantomCase:
    """Make one synthetic abdominal CT; the same seed gives the same CT.

    Args:
        seed: Seed of everything that is drawn at random.
        preset: Name of the preset: ``tiny``, ``medium``, ``standard``, ``varied`` or ``full``.
        tumor: Whether there must (True) or must not (False) be a lesion; None for chance.
        slices: Number of slices; None for the number that follows from length and thickness.

    Raises:
        InputError: The preset does not exist, or ``slices`` is below 2.
    """
    settings = find_scan_preset(preset)
    rng = np.random.default_rng(seed)
    patient = draw_patient(rng, tumor=tumor, unusual=settings.unusual)
    return scan_patient(patient, draw_scan(rng, settings, patient, slices=slices))


def scan_patient(patient: Patient, scan: Scan) -> PhantomCase:
    """Scan a given patient with given scan parameters, for example in a benchmark."""
    space, nodes = make_space(scan, patient)
    layers = anatomy_layers(space, patient)
    skin = [layer.field for layer in layers if layer.name == "skin"]
    table = table_layers(space, skin[0]) if skin else []
    drawn = render(
        scan, nodes, space, [*table, *layers], tissues=draw_tissues(patient), seed=patient.seed
    )
    truth = np.where(drawn.lesion, np.uint8(flare23()["tumor"].id), drawn.organs)
    return PhantomCase(
        to_stored_axes(drawn.image, scan),
        to_stored_axes(truth, scan),
        to_stored_axes(drawn.organs, scan),
        patient,
        scan,
    )
