"""Adding a lesion stage to a bundle."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnstudent.bundle import nnunet
from nnstudent.bundle.bundle import MANIFEST, Model
from nnstudent.bundle.export import CONTEXT_MM, first_lesion_class
from nnstudent.bundle.quantise import Sampling
from nnstudent.bundle.spec import HostRule
from nnstudent.bundle.write import (
    Contents,
    network_names,
    open_to_change,
    write_changed,
    write_network,
)
from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError
from nnstudent.io.atomic import replacing_folder
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import find_classes
from nnstudent.volume import Shape, Spacing

log = logging.getLogger(__name__)


def add_lesion_stage(
    bundle: Path | None,
    stage: Path,
    out: Path,
    *,
    hosts: Mapping[str, HostRule],
    context_mm: float = CONTEXT_MM,
    window: Shape | None = None,
    spacing_mm: Spacing | None = None,
    fold: int | str = "0",
    card: Mapping[str, Any] | None = None,
    torch_weights: bool = True,
    int8: Sampling | None = None,
    trust_pickle: bool = False,
    progress: Progress = silent,
) -> Path:
    """Write a bundle again with a lesion stage after its networks.

    Args:
        bundle: The bundle that segments the organs; None for the student that comes with the
            package. If it has a lesion stage, the new one takes its place, with a warning.
        stage: nnU-Net model folder of the lesion stage. It has a lesion class, and perhaps organs,
            whose results are not used.
        out: The new bundle's folder, replaced as a whole.
        hosts: The organs in and around which it looks for lesions, each with its rule.
        context_mm: How far around them it sees.
        window: Voxels of a window, (z, y, x), if another size than in training works better; it
            must suit the network.
        spacing_mm: Spacing of its grid, (z, y, x), in mm, if another than in training works better
            (:mod:`nnstudent.bundle.grids`).
        fold: Which fold of the stage.
        card: Facts for the model card, added to those of the bundle.
        torch_weights: See :func:`~nnstudent.bundle.export.export`, as for all that follow.
        int8: See there.
        trust_pickle: See there.
        progress: See there.

    Returns:
        ``out``.

    Raises:
        InputError: The bundle lacks a host, the stage has no lesion class, or see
            :func:`~nnstudent.bundle.export.export`.
        OutputError: See there.
        MissingExtraError: See there.
    """
    model = open_to_change(bundle, out, advice="export it first, then add the lesion stage")
    source = nnunet.open_folder(stage, fold=fold, trust_pickle=trust_pickle)
    hosts = _named_hosts(hosts, model)
    _check_lesion_class(source, model)
    spec = replace(
        source.spec,
        context_mm=context_mm,
        hosts=dict(hosts),
        relative_to=_relative_to(source, model, hosts=hosts),
        patch=window or source.spec.patch,
        spacing_mm=spacing_mm or source.spec.spacing_mm,
    )
    manifest = read_json_table(model.path / MANIFEST, what="a bundle")
    kept, replaced = _first_networks(manifest["networks"], model)
    if replaced:
        log.warning("%s: its lesion stage %s is replaced", model.path, ", ".join(replaced))
    with replacing_folder(out) as temporary:
        (temporary / "networks").mkdir(parents=True)
        for file in (file for row in kept for file in row["files"]):
            shutil.copyfile(model.path / file, temporary / file)
        (name,) = network_names([stage.resolve().name])
        if any(row["name"] == name for row in kept):
            name = f"{name}_lesions"
        row = write_network(
            temporary,
            name,
            replace(source, spec=spec),
            contents=Contents(torch_weights, int8, progress),
        )
        progress("export", 1, 1)
        write_changed(
            temporary, manifest, networks=[*kept, row], card=card, title=out.resolve().name
        )
    return out


def _first_networks(
    rows: list[dict[str, Any]], model: Model
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a manifest without lesion stages, and the names of these."""
    stages = [network.name for network in model.networks if network.spec.hosts]
    return [row for row in rows if row["name"] not in stages], stages


def _named_hosts(hosts: Mapping[str, HostRule], model: Model) -> dict[str, HostRule]:
    """The hosts by the bundle's names of their classes."""
    if not hosts:
        raise InputError(
            f"no hosts; expected organs that {model.path} segments: {', '.join(model.classes)}"
        )
    where = f"hosts, organs that {model.path} segments"
    return {
        find_classes([name], model.classes, where=where)[0]: rule for name, rule in hosts.items()
    }


def _relative_to(source: nnunet.Folder, model: Model, *, hosts: Collection[str]) -> tuple[str, ...]:
    """The organs that the stage sees intensities relative to, by the bundle's names."""
    if not source.spec.relative_to:
        return ()
    where = f"{source.path} sees intensities relative to organs, which {model.path} has to segment"
    organs = find_classes(source.spec.relative_to, model.classes, where=where)
    blind = [name for name in hosts if name not in organs]
    if blind:
        raise InputError(
            f"hosts {', '.join(blind)}: {source.path} has learned lesions of "
            f"{', '.join(organs)} only"
        )
    return organs


def _check_lesion_class(source: nnunet.Folder, model: Model) -> None:
    """Refuse a stage without a lesion class, or with one that the bundle does not know."""
    lesion = first_lesion_class(source)
    if lesion not in model.taxonomy.lesions:
        raise InputError(
            f"{model.path}: its label table {model.taxonomy.name} has no lesion class "
            f"{lesion}, which {source.path} segments; "
            "export it again with a table that has it, such as --taxonomy flare23"
        )
