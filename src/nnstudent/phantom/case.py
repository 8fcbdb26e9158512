"""One synthetic scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnstudent.phantom.acquisition import Scan, draw_scan, find_preset, finish
from nnstudent.phantom.anatomy import anatomy
from nnstudent.phantom.grid import make_space, table_layers
from nnstudent.phantom.patient import Patient, draw_patient
from nnstudent.phantom.render import render
from nnstudent.phantom.tissues import looks
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """One synthetic scan, all volumes on one grid.

    Attributes:
        image: HU, int16.
        truth: All organs and lesions, uint8.
        organs: The organs without the lesions: a lesion has the id of its host.
        patient: What was drawn of the patient: build, sex, contrast phase, gallbladder, lesions.
        scan: What was drawn of the scan: spacing, axes, noise, whether the whole abdomen is in view.
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
    """Make one synthetic abdominal CT; the same seed makes the same.

    Args:
        seed: Of everything that is drawn.
        preset: Name of the preset.
        tumor: Whether there must or must not be a lesion; None leaves it to chance.
        slices: How many slices; None follows from length and thickness.

    Raises:
        InputError: There is no such preset, or fewer than two slices are asked for.
    """
    settings = find_preset(preset)
    rng = np.random.default_rng(seed)
    patient = draw_patient(rng, tumor=tumor)
    return scan_patient(patient, draw_scan(rng, settings, patient, slices=slices))


def scan_patient(patient: Patient, scan: Scan) -> PhantomCase:
    """Scan a patient in a way of one's own, as a benchmark wants it."""
    space, nodes = make_space(scan, patient)
    layers = anatomy(space, patient)
    skin = [layer.field for layer in layers if layer.name == "skin"]
    table = table_layers(space, skin[0]) if skin else []
    drawn = render(scan, nodes, space, [*table, *layers], looks=looks(patient), seed=patient.seed)
    truth = np.where(drawn.lesion, np.uint8(flare23()["tumor"].id), drawn.organs)
    return PhantomCase(
        finish(drawn.image, scan), finish(truth, scan), finish(drawn.organs, scan), patient, scan
    )
