"""Running a lesion stage on another grid than the one that it learned on.

A lesion that fills few voxels is hardly seen. On a finer grid it fills more, as a larger lesion did
in training, and no weight changes. The time of the lesion stage grows with the number of voxels.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnstudent.bundle.bundle import MANIFEST, open_model
from nnstudent.bundle.write import check_replaceable, write_changed
from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError
from nnstudent.io.atomic import replacing_folder
from nnstudent.volume import Spacing


def regrid_lesion_stage(
    bundle: Path | None,
    out: Path,
    *,
    spacing_mm: Spacing,
    card: Mapping[str, Any] | None = None,
) -> Path:
    """Write a bundle again whose lesion stage runs on another grid.

    Networks, thresholds and the calibration of the expected Dice, which judges organs only, stay as
    they are.

    Args:
        bundle: The bundle; None for the student that comes with the package.
        out: The new bundle's folder, replaced as a whole.
        spacing_mm: The grid's spacing, (z, y, x), in mm.
        card: Facts for the model card, added to those of the bundle.

    Returns:
        ``out``.

    Raises:
        InputError: It is no bundle, has no lesion stage, or the spacing is out of range.
        OutputError: ``out`` cannot be written, or is neither a bundle nor empty.
    """
    check_replaceable(out)
    model = open_model(bundle)
    if model.kind != "bundle":
        raise InputError(f"{bundle}: is no bundle; export it first, then change the lesion grid")
    stages = {network.name for network in model.networks if network.spec.hosts}
    if not stages:
        raise InputError(
            f"{model.path}: has no lesion stage, whose grid could be changed; "
            "put one behind it first (--behind)"
        )
    manifest = read_json_table(model.path / MANIFEST, what="a bundle")
    for row, network in zip(manifest["networks"], model.networks, strict=True):
        if network.name in stages:
            row["spec"] = replace(network.spec, spacing_mm=spacing_mm).to_dict()
    with replacing_folder(out) as temporary:
        shutil.copytree(model.path / "networks", temporary / "networks")
        write_changed(
            temporary, manifest, networks=manifest["networks"], card=card, title=out.resolve().name
        )
    return out
