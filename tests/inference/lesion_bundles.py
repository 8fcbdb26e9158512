"""Small bundles with a lesion stage."""

from __future__ import annotations

from pathlib import Path

from nnstudent.bundle.export import export
from nnstudent.bundle.lesion_stage import add_lesion_stage
from nnstudent.bundle.spec import HostRule
from nnstudent.taxonomy import flare23
from tests.inference.folders import ISOTROPIC, make_folder

HOSTS = {"spleen": HostRule(0.3, 0.0)}


def make_lesion_bundles(at: Path) -> tuple[Path, Path, Path]:
    """A bundle of organs, a lesion stage's folder, and both in one bundle."""
    organs = export(
        make_folder(at / "organs", ISOTROPIC), at / "first", taxonomy=flare23(), torch_weights=False
    )
    stage = make_folder(at / "stage", ISOTROPIC, classes=("liver", "tumor"), seed=5)
    both = add_lesion_stage(
        organs, stage, at / "both", hosts=HOSTS, context_mm=8.0, torch_weights=False
    )
    return organs, stage, both
