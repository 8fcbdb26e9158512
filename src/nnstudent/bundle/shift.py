"""Shifting the borders of a model's classes.

A network that was trained with weights for rare classes, or by Dice, can draw the borders of an
organ too far out on all scans alike. A constant that is added to the logits of the class moves the
border back, costs nothing, and needs no training. ``python -m bench.borders`` measures which.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnstudent.bundle import graph
from nnstudent.bundle.bundle import MANIFEST, Network, content_hash
from nnstudent.bundle.network import build, load_weights
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.bundle.write import open_to_change, write_changed
from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError
from nnstudent.io.atomic import replacing_folder
from nnstudent.taxonomy import find_classes


def shifted_specs(
    specs: Sequence[NetworkSpec], logit_shift: Mapping[str, float]
) -> list[NetworkSpec]:
    """The specifications of a model's networks with shifts in place of those that they have.

    Args:
        specs: The specifications.
        logit_shift: By class, what is added to its logits in each network that decides on it.

    Raises:
        InputError: No network has one of the classes, or a shift is out of range.
    """
    known = tuple(dict.fromkeys(name for spec in specs for name in spec.foreground))
    named = {
        find_classes([name], known, where="shift, classes of the model")[0]: shift
        for name, shift in logit_shift.items()
    }
    return [
        replace(
            spec,
            logit_shift={name: value for name, value in named.items() if name in spec.foreground},
        )
        for spec in specs
    ]


def shift_bundle(
    bundle: Path | None,
    out: Path,
    *,
    logit_shift: Mapping[str, float],
    card: Mapping[str, Any] | None = None,
) -> Path:
    """Write a bundle again with other shifts of its logits.

    Its calibration of the expected Dice is left out, because it belongs to other labels.

    Args:
        bundle: The bundle; None for the student that comes with the package.
        out: The new bundle's folder, replaced as a whole.
        logit_shift: See :func:`shifted_specs`; shifts that the bundle has are replaced.
        card: Facts for the model card, added to those of the bundle.

    Returns:
        ``out``.

    Raises:
        InputError: It is no bundle, has a network in int8, or see :func:`shifted_specs`.
        OutputError: ``out`` cannot be written, or is neither a bundle nor empty.
        MissingExtraError: torch is not installed.
    """
    model = open_to_change(bundle, out, advice="export it with the shifts")
    specs = shifted_specs([network.spec for network in model.networks], logit_shift)
    manifest = read_json_table(model.path / MANIFEST, what="a bundle")
    manifest.pop("quality", None)
    rows = []
    with replacing_folder(out) as temporary:
        shutil.copytree(model.path / "networks", temporary / "networks")
        for row, network, spec in zip(manifest["networks"], model.networks, specs, strict=True):
            if spec != network.spec:
                row = _written_again(temporary, row, network, spec, path=model.path)
            rows.append(row)
        write_changed(temporary, manifest, networks=rows, card=card, title=out.resolve().name)
    return out


def _written_again(
    folder: Path, row: Mapping[str, Any], network: Network, spec: NetworkSpec, *, path: Path
) -> dict[str, Any]:
    """A network's entry in the manifest after its graph was converted with the shifts."""
    (member,) = network.members
    if member.int8 is not None:
        raise InputError(
            f"{path}: network {network.name} has a quantized graph, which would have to be made "
            "again; export the nnU-Net model folder with --shift"
        )
    module = load_weights(build(spec), member.weights(), path=path)
    graph.save(graph.convert(module, spec), folder / "networks" / f"{network.name}.xml")
    return {
        "name": network.name,
        "spec": spec.to_dict(),
        "files": {file: content_hash(folder / file) for file in row["files"]},
    }
