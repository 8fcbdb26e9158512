"""Running the networks of a bundle on other grids than those that they learned on.

An organ or a lesion that fills few voxels is hardly seen. On a finer grid it fills more, as a
larger one did in training, and no weight changes. The time grows with the number of voxels.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnstudent.bundle.bundle import MANIFEST, Model
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.bundle.write import open_to_change, write_changed
from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError
from nnstudent.io.atomic import replacing_folder
from nnstudent.volume import Spacing

_ADVICE = "export it first, then change its grids"


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
    model = open_to_change(bundle, out, advice=_ADVICE)
    if not any(network.spec.hosts for network in model.networks):
        raise InputError(
            f"{model.path}: has no lesion stage, whose grid could be changed; "
            "put one behind it first (--behind)"
        )
    specs = [
        replace(spec, spacing_mm=spacing_mm) if spec.hosts else spec
        for spec in (network.spec for network in model.networks)
    ]
    return _write(model, out, specs=specs, card=card)


def add_second_look(
    bundle: Path | None,
    out: Path,
    *,
    finer_mm: Spacing,
    card: Mapping[str, Any] | None = None,
) -> Path:
    """Write a bundle again whose first network looks twice, the second time on a finer grid.

    See :mod:`nnstudent.inference.second_look`. The calibration of the expected Dice is left out,
    because it belongs to other labels.

    Args:
        bundle: The bundle; None for the student that comes with the package.
        out: The new bundle's folder, replaced as a whole.
        finer_mm: Spacing of the finer grid, (z, y, x), in mm; it replaces one that the bundle has.
        card: Facts for the model card, added to those of the bundle.

    Returns:
        ``out``.

    Raises:
        InputError: It is no bundle, its first network cannot look twice, or the spacing is out of
            range.
        OutputError: ``out`` cannot be written, or is neither a bundle nor empty.
    """
    model = open_to_change(bundle, out, advice=_ADVICE)
    first, *others = (network.spec for network in model.networks)
    specs = [replace(first, finer_mm=finer_mm), *others]
    return _write(model, out, specs=specs, card=card, leave_out=("quality",))


def _write(
    model: Model,
    out: Path,
    *,
    specs: Sequence[NetworkSpec],
    card: Mapping[str, Any] | None,
    leave_out: Sequence[str] = (),
) -> Path:
    """Write a bundle again with other specifications of the same networks."""
    manifest = read_json_table(model.path / MANIFEST, what="a bundle")
    rows = [
        row if spec == network.spec else {**row, "spec": spec.to_dict()}
        for row, network, spec in zip(manifest["networks"], model.networks, specs, strict=True)
    ]
    kept = {key: value for key, value in manifest.items() if key not in leave_out}
    with replacing_folder(out) as temporary:
        shutil.copytree(model.path / "networks", temporary / "networks")
        write_changed(temporary, kept, networks=rows, card=card, title=out.resolve().name)
    return out
