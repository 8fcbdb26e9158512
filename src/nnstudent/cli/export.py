"""Turn an nnU-Net v2 folder into a bundle, which `segment` runs without torch.

  nnstudent export RUN/student -o bundle
  nnstudent export RUN/student -o bundle --int8 --calibration RUN/cohort
      also in int8, several times as fast on processors that have it
  nnstudent export RUN/student -o bundle --quality HELD_OUT
      segment then says which Dice to expect of each organ; HELD_OUT is a cohort
      of labeled scans that the model did not learn from
  nnstudent export organs -o bundle --overlay tumor
      what the second model finds is laid over the organs of the first
  nnstudent export organs -o bundle --second fine
      a cascade: the finer model runs around what the first one found
  nnstudent export lesions -o bundle --behind bundled --hosts hosts.json
      a lesion stage, which searches in and around the organs of hosts.json
  nnstudent export bundled -o bundle --shift liver=-1,spleen=-0.6
      the same networks with borders farther in: liver and spleen came out too
      large; the model may also be an nnU-Net folder
  nnstudent export bundled -o bundle --lesion-grid 2.4,1.5,1.5
      the bundled student with a finer grid for its lesion stage: it finds more
      small lesions, and more that are none
  nnstudent export bundled -o bundle --finer-grid 3,2.25,2.25
      the bundled student, whose second look at the organs has another grid
  nnstudent export RUN/student -o student.onnx --onnx
      for programs without this package; bundles can be exported like this too

Weights are read as tensors only. A checkpoint that holds anything else is
refused unless you say that you trust its makers (--trust-pickle).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudent.cli import export_options as options
from nnstudent.cli.common import (
    add_advanced,
    add_output,
    add_report,
    add_taxonomy,
    add_trust_pickle,
)
from nnstudent.words import count

if TYPE_CHECKING:
    from nnstudent.errors import Failure

HELP = "turn an nnU-Net model folder into a bundle"
_BEHIND = {"--behind", "--hosts", "--window", "--lesion-grid"}
_PLAIN = {
    "--calibration",
    "--card",
    "--fold",
    "--int8",
    "--near",
    "--no-torch",
    "--overlay",
    "--quality",
    "--second",
    "--shift",
    "--taxonomy",
}
_LOOKING = "--finer-grid"
_OPTIONS = _BEHIND | _PLAIN | {_LOOKING}
_SHIFTED, _REGRIDDED = "--shift of a bundle", "--lesion-grid of a bundle"
# The options that each kind of export uses, and why it uses no others.
_TAKES = {
    "--onnx": ({"--fold"}, "an ONNX file holds one plain network"),
    "--onnx of a bundle": (set(), "an ONNX file holds one plain network"),
    _SHIFTED: ({"--shift", "--card", "--quality"}, "all else stays as it is"),
    _REGRIDDED: ({"--lesion-grid", "--card", "--quality"}, "all else stays as it is"),
    _LOOKING: ({"--finer-grid", "--card", "--quality"}, "all else stays as it is"),
    "--behind": (
        _OPTIONS - {"--finer-grid", "--overlay", "--second", "--shift", "--taxonomy"},
        "the bundle in front stays as it is; change it on its own",
    ),
    "an export without --behind": (_PLAIN, "it is for a lesion stage"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="nnU-Net model folder (plans.json, dataset.json, fold_K/checkpoint_final.pth), "
        "several with a parts.json beside them, or a name from nnstudent model list",
    )
    add_output(parser, metavar="BUNDLE", help="folder of the bundle; replaces a bundle there")
    parser.add_argument(
        "--int8",
        action="store_true",
        help="also in int8; refused if that costs DSC (needs --calibration)",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="COHORT",
        help="cohort folder, some of it labeled, to quantize and compare on",
    )
    parser.add_argument(
        "--quality",
        type=Path,
        metavar="COHORT",
        help="cohort folder of labeled scans that the model did not learn from, to calibrate the "
        "expected Dice on: its test cases, or all if none of these is labeled",
    )
    parser.add_argument(
        "--onnx",
        action="store_true",
        help="write one ONNX file instead of a bundle, with normalization and labels in its "
        "metadata; MODEL may be a bundle, or bundled",
    )
    add_report(parser, help="write what was exported as JSON")
    _add_stages(parser.add_argument_group("several networks"))
    advanced = add_advanced(parser)
    advanced.add_argument("--fold", metavar="K", help="fold to export (default: 0)")
    advanced.add_argument(
        "--no-torch",
        action="store_true",
        help="leave out the weights for --engine torch, which halves the size",
    )
    advanced.add_argument(
        "--card", type=Path, metavar="FILE.json", help="facts for the model card, a JSON object"
    )
    advanced.add_argument(
        "--shift",
        metavar="CLASS=X,...",
        help="add X to the logits of a class, so that its border moves out (above 0) or in; MODEL "
        "may be a bundle, or bundled",
    )
    advanced.add_argument(
        "--finer-grid",
        metavar="Z,Y,X",
        help="spacing of a finer grid, in mm, on which the network looks again at what it found; "
        "the mean of both looks decides. MODEL is a bundle, or bundled",
    )
    add_taxonomy(advanced, default="the model's own values")
    add_trust_pickle(advanced)


def _add_stages(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--overlay",
        type=Path,
        action="append",
        default=[],
        metavar="MODEL",
        help="a further model, laid over the ones before; repeatable",
    )
    group.add_argument(
        "--second",
        type=Path,
        metavar="MODEL",
        help="second stage of a cascade, for some of the classes",
    )
    group.add_argument(
        "--near",
        type=float,
        metavar="MM",
        help="margin that the second stage sees around what the first found (default: 20)",
    )
    group.add_argument(
        "--behind",
        metavar="BUNDLE",
        help="put MODEL, a lesion stage, behind the networks of this bundle, or of the bundled "
        "student (bundled), in place of a lesion stage that it has",
    )
    group.add_argument(
        "--hosts",
        type=Path,
        metavar="FILE.json",
        help="organs that the lesion stage searches, such as "
        '{"liver": {"threshold": 0.5, "least_ml": 0.3}}',
    )
    group.add_argument(
        "--window",
        metavar="Z,Y,X",
        help="window of the lesion stage, in voxels (default: as in its training)",
    )
    group.add_argument(
        "--lesion-grid",
        metavar="Z,Y,X",
        help="spacing of the grid on which the lesion stage runs, in mm (default: as in its "
        "training); without --behind, MODEL is a bundle that has one, or bundled",
    )


def run(args: argparse.Namespace) -> int:
    """Export the model and print the bundle's size."""
    from nnstudent.bundle.bundle import open_model
    from nnstudent.cli.common import Display, print_failures, write_report

    kind = _kind(args)
    _check(args, kind)
    if args.onnx:
        return _run_onnx(args)
    with Display() as display:
        out = _export(args, kind, progress=display)
        failures = _calibrate(args, progress=display)
    model = open_model(out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    write_report(
        args.report,
        {"bundle": str(out), "hash": model.hash, "classes": list(model.classes), "bytes": size},
    )
    networks = count(len(model.networks), "network")
    classes = count(len(model.classes), "class", plural="classes")
    print(f"{out}: {networks}, {classes}, {size / 1e6:.1f} MB")
    print(f"card: {out / 'card.md'}")
    if model.quality is not None:
        scans = count(int(model.quality.rests_on["scans"]), "scan")
        print(f"expected Dice: calibrated on {scans}")
    print(f"segment with: nnstudent segment CT.nii.gz -o labels.nii.gz --model {out}")
    return print_failures("export", failures, done=1)


def _calibrate(args: argparse.Namespace, *, progress: Any) -> tuple[Failure, ...]:
    """Calibrate the expected Dice, if a cohort is given; returns what could not be used of it."""
    from nnstudent.evaluation.calibrate import calibrate_on_cohort

    if args.quality is None:
        return ()
    return calibrate_on_cohort(args.out, args.quality, progress=progress).failures


def _run_onnx(args: argparse.Namespace) -> int:
    from nnstudent.bundle.bundle import open_model
    from nnstudent.bundle.onnx import export_onnx
    from nnstudent.bundle.store import find_model
    from nnstudent.cli.common import write_report

    path, fold = find_model(args.model), args.fold or "0"
    model = open_model(path, fold=fold, trust_pickle=args.trust_pickle)
    out = export_onnx(model, args.out)
    size = out.stat().st_size
    write_report(
        args.report,
        {"onnx": str(out), "hash": model.hash, "classes": list(model.classes), "bytes": size},
    )
    classes = count(len(model.classes), "class", plural="classes")
    print(f"{out}: {classes}, {size / 1e6:.1f} MB")
    return 0


def _check(args: argparse.Namespace, kind: str) -> None:
    """Refuse options that have no effect on a kind of export, and too few scans to calibrate on."""
    from nnstudent.errors import InputError
    from nnstudent.evaluation.calibrate import check_cohort

    takes, why = _TAKES[kind]
    for option in sorted(_OPTIONS - takes):
        if getattr(args, option[2:].replace("-", "_")) not in (None, False, []):
            raise InputError(f"{option} does not go with {kind}: {why}")
    if args.near is not None and args.second is None and args.behind is None:
        raise InputError("--near does not go without --second or --behind: it is their margin")
    if args.int8 != (args.calibration is not None):
        raise InputError(
            "--int8 and --calibration go together: --int8 --calibration COHORT, a folder that "
            "nnstudent index made"
        )
    if (args.behind is None) != (args.hosts is None):
        raise InputError("--behind and --hosts go together: --behind bundled --hosts hosts.json")
    if args.quality is not None:
        check_cohort(args.quality)


def _kind(args: argparse.Namespace) -> str:
    """The kind of export that the options ask for, a key of ``_TAKES``."""
    if args.onnx:
        return "--onnx of a bundle" if _is_bundle(args.model) else "--onnx"
    if args.behind is not None:
        return "--behind"
    if args.shift is not None and _is_bundle(args.model):
        return _SHIFTED
    if args.lesion_grid is not None:
        return _REGRIDDED
    if args.finer_grid is not None:
        return _LOOKING
    return "an export without --behind"


def _is_bundle(model: Path) -> bool:
    from nnstudent.bundle.bundle import MANIFEST
    from nnstudent.bundle.store import find_model

    path = find_model(model)
    return path is None or (path / MANIFEST).is_file()


def _export(args: argparse.Namespace, kind: str, *, progress: Any) -> Path:
    from functools import partial

    from nnstudent.bundle.export import CONTEXT_MM, export
    from nnstudent.bundle.grids import add_second_look, regrid_lesion_stage
    from nnstudent.bundle.lesion_stage import add_lesion_stage
    from nnstudent.bundle.shift import shift_bundle
    from nnstudent.bundle.store import find_model
    from nnstudent.cohort.cohort import read_cohort
    from nnstudent.data_files import read_json_table
    from nnstudent.inference.calibration import sample_cohort
    from nnstudent.taxonomy import find_taxonomy

    card = {} if args.card is None else read_json_table(args.card, what="a model card")
    shift = options.shift(args.shift)
    path = find_model(args.model)
    grid = options.grid(args.lesion_grid, option="--lesion-grid")
    finer = options.grid(args.finer_grid, option=_LOOKING)
    if kind == _SHIFTED:
        return shift_bundle(path, args.out, logit_shift=shift, card=card)
    if kind == _REGRIDDED and grid is not None:
        return regrid_lesion_stage(path, args.out, spacing_mm=grid, card=card)
    if kind == _LOOKING and finer is not None:
        return add_second_look(path, args.out, finer_mm=finer, card=card)
    how: dict[str, Any] = {
        "context_mm": CONTEXT_MM if args.near is None else args.near,
        "fold": args.fold or "0",
        "card": card,
        "torch_weights": not args.no_torch,
        "int8": partial(sample_cohort, read_cohort(args.calibration)) if args.int8 else None,
        "trust_pickle": args.trust_pickle,
        "progress": progress,
    }
    model = path or args.model
    if args.behind is None:
        return export(
            model,
            args.out,
            overlay=args.overlay,
            second=args.second,
            taxonomy=None if args.taxonomy is None else find_taxonomy(args.taxonomy),
            logit_shift=shift,
            **how,
        )
    return add_lesion_stage(
        find_model(args.behind),
        model,
        args.out,
        hosts=options.hosts(args.hosts),
        window=options.window(args.window),
        spacing_mm=grid,
        **how,
    )
