"""Export: turn nnU-Net model folders into a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nnstudent
from nnstudent.bundle import nnunet
from nnstudent.bundle.bundle import FORMAT, MANIFEST
from nnstudent.bundle.parts import open_folders
from nnstudent.bundle.quantise import Sampling, quantiser
from nnstudent.bundle.shift import shifted_specs
from nnstudent.bundle.write import (
    Contents,
    check_replaceable,
    network_names,
    write_manifest,
    write_network,
)
from nnstudent.errors import InputError
from nnstudent.io.atomic import replacing_folder
from nnstudent.io.lock import writing
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy

CONTEXT_MM = 20.0  # what a second stage sees around the classes that the first stage found


def export(
    model: Path,
    out: Path,
    *,
    overlay: Sequence[Path] = (),
    lesions_only: bool = False,
    second: Path | None = None,
    context_mm: float = CONTEXT_MM,
    fold: int | str = "0",
    taxonomy: Taxonomy | None = None,
    card: Mapping[str, Any] | None = None,
    torch_weights: bool = True,
    int8: Sampling | None = None,
    logit_shift: Mapping[str, float] | None = None,
    trust_pickle: bool = False,
    progress: Progress = silent,
) -> Path:
    """Turn an nnU-Net model folder into a bundle.

    Args:
        model: The nnU-Net model folder, or a folder of several with a ``parts.json``.
        out: The bundle's folder, replaced as a whole.
        overlay: Further model folders; their foreground is laid over that of the ones before
            (tumor over organ).
        lesions_only: Whether only the lesions of ``overlay`` count, although these models have
            learned organs too.
        second: The second stage of a cascade: a model folder of some of the classes. It sees only
            the box around what ``model`` found of them, and decides about them there.
        context_mm: How far beyond this box the second stage sees.
        fold: Which fold of each model.
        taxonomy: Label table of the bundle's results, with all classes of the models; None for the
            models' own.
        card: Facts for the model card, such as ``training_data``; plain data.
        torch_weights: Whether the torch engine can run the bundle too; without, it has half the
            size.
        int8: Gives the windows to quantize each network on and to compare it on, such as
            ``partial(nnstudent.inference.calibration.sample_cohort, cohort)``; None for no int8.
        logit_shift: By class, what is added to its logits (:mod:`nnstudent.bundle.shift`).
        trust_pickle: Also read checkpoints that hold more than tensors and numbers.
        progress: Called after each network.

    Returns:
        ``out``.

    Raises:
        InputError: A model folder lacks a file or is not supported, the label tables differ, or
            int8 loses too much.
        OutputError: ``out`` cannot be written, or is neither a bundle nor empty.
        MissingExtraError: torch, or NNCF for int8, is not installed.
    """
    check_replaceable(out)
    paths = (model, *([] if second is None else [second]), *overlay)
    _refuse_bundles(paths)
    parts = open_folders(model, fold=fold, trust_pickle=trust_pickle)
    later = [nnunet.open_folder(path, fold=fold, trust_pickle=trust_pickle) for path in paths[1:]]
    if second is not None:
        if len(parts) > 1:
            raise InputError(
                f"{model}: has {len(parts)} parts; only a model of one part can be the first stage "
                "of a cascade"
            )
        later[0] = _second_stage(later[0], after=parts[0], context_mm=context_mm)
    if lesions_only:
        first = len(later) - len(overlay)
        later = [*later[:first], *(_lesions_of(folder) for folder in later[first:])]
    folders = [*parts, *later]
    if logit_shift:
        specs = shifted_specs([folder.spec for folder in folders], logit_shift)
        folders = [replace(item, spec=spec) for item, spec in zip(folders, specs, strict=True)]
    taxonomy = _common_taxonomy(
        folders if taxonomy is None else [replace(folder, taxonomy=taxonomy) for folder in folders]
    )
    if int8 is not None:
        quantiser()  # if it is missing, the error comes before any work
    contents = Contents(torch_weights, int8, progress)
    names = network_names([folder.name for folder in folders])
    with writing(out, beside=True), replacing_folder(out) as temporary:
        (temporary / "networks").mkdir()
        rows = []
        for done, (name, folder) in enumerate(zip(names, folders, strict=True), start=1):
            rows.append(write_network(temporary, name, folder, contents=contents))
            progress("export", done, len(folders))
        manifest = {
            "format": FORMAT,
            "made_by": f"nnstudent {nnstudent.__version__}",
            "networks": rows,
            "taxonomy": taxonomy.to_dict(),
            "card": dict(card or {}),
        }
        write_manifest(temporary, manifest, title=out.resolve().name)
    return out


def _refuse_bundles(paths: Sequence[Path]) -> None:
    for path in paths:
        if (path / MANIFEST).is_file():
            raise InputError(
                f"{path}: is a bundle already; "
                "expected the nnU-Net model folder that it was made from"
            )


def _second_stage(
    second: nnunet.Folder, *, after: nnunet.Folder, context_mm: float
) -> nnunet.Folder:
    """A model as the second stage of a cascade."""
    if not set(second.spec.foreground) <= set(after.spec.foreground):
        raise InputError(
            f"{second.path}: segments {', '.join(second.spec.foreground)}, "
            f"of which {after.path} does not segment all; "
            "the second stage of a cascade looks where the first found its classes"
        )
    return replace(second, spec=replace(second.spec, context_mm=context_mm))


def _lesions_of(folder: nnunet.Folder) -> nnunet.Folder:
    """A model of which only the lesions are laid over the models before it."""
    first_lesion_class(folder)
    return replace(folder, spec=replace(folder.spec, lesions_only=True))


def first_lesion_class(folder: nnunet.Folder) -> str:
    """The first lesion class that a model segments.

    Raises:
        InputError: It has none.
    """
    for name in folder.spec.foreground:
        if name in folder.taxonomy.lesions:
            return name
    raise InputError(
        f"{folder.path}: segments {', '.join(folder.spec.foreground)}, "
        "none of which is a lesion class"
    )


def _common_taxonomy(folders: Sequence[nnunet.Folder]) -> Taxonomy:
    first = folders[0].taxonomy
    for folder in folders:
        missing = [name for name in folder.spec.foreground if name not in first.names]
        if missing and folder.taxonomy == first:
            raise InputError(
                f"{folder.path}: segments {', '.join(missing[:5])}, "
                f"which label table {first.name} lacks; give a table with all classes"
            )
    for other in folders[1:]:
        if other.taxonomy != first and not set(other.spec.foreground) <= set(first.names):
            raise InputError(
                f"{other.path}: segments {', '.join(other.spec.foreground)}, but the label table "
                f"of {folders[0].path} is {first.name}, which lacks them; models that are laid "
                "over each other share a label table; "
                "name one with all their classes by --taxonomy, such as flare23"
            )
    return first
