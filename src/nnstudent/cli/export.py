"""Turn an nnU-Net v2 model folder into a bundle, which `segment` runs without torch.

  nnstudent export RUN/student -o bundle
  nnstudent export RUN/student -o bundle --int8 --calibration RUN/cohort    also in int8, several times faster where the processor has it
  nnstudent export organs -o bundle --overlay tumor     what the second model finds is laid over the first one's organs
  nnstudent export organs -o bundle --second fine       a cascade: the finer model looks again where the first found its classes
  nnstudent export lesions -o bundle --behind bundled --hosts hosts.json    a lesion stage: looks in and around the organs named

Export reads weights only as tensors; a checkpoint that holds more is refused unless you say that you trust who made it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnstudent.bundle.spec import HostRule

HELP = "turn an nnU-Net model folder into a bundle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="nnU-Net model folder: plans.json, dataset.json, fold_K/checkpoint_final.pth",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="folder of the bundle; an older bundle there is replaced",
    )
    parser.add_argument(
        "--overlay",
        type=Path,
        action="append",
        default=[],
        metavar="MODEL",
        help="a further model, laid over the ones before",
    )
    parser.add_argument(
        "--second",
        type=Path,
        metavar="MODEL",
        help="second stage of a cascade, for some of the classes",
    )
    parser.add_argument(
        "--near",
        type=float,
        default=20.0,
        metavar="MM",
        help="how far around what the first stage found the second one sees (default: 20)",
    )
    parser.add_argument(
        "--behind",
        metavar="BUNDLE",
        help="MODEL is a lesion stage: put it behind the networks of a bundle, or of the bundled student",
    )
    parser.add_argument(
        "--hosts",
        type=Path,
        metavar="FILE.json",
        help='organs it looks in, such as {"liver": {"threshold": 0.5, "least_ml": 0.3}}',
    )
    parser.add_argument(
        "--window",
        metavar="Z,Y,X",
        help="voxels of a lesion stage's window (default: as in its training)",
    )
    parser.add_argument("--fold", default="0", help="which fold (default: 0)")
    parser.add_argument(
        "--taxonomy",
        metavar="TABLE",
        help="label table of the results: flare23 or a TOML file (default: the model's own values)",
    )
    parser.add_argument(
        "--card", type=Path, metavar="FILE.json", help="facts for the model card, a JSON object"
    )
    parser.add_argument(
        "--no-torch",
        action="store_true",
        help="leave out the weights for --engine torch: half the size",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="also in int8; refused if that costs DSC (needs --calibration)",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="COHORT",
        help="indexed cohort, some of it labeled, to quantise and compare on",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE.json", help="write what was made as JSON"
    )
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="load checkpoints that hold more than tensors; they can run any code",
    )


def run(args: argparse.Namespace) -> int:
    """Export."""
    from functools import partial

    from nnstudent.bundle.bundle import open_model
    from nnstudent.bundle.export import add_lesion_stage, export
    from nnstudent.cli.common import Display, write_report
    from nnstudent.cohort.cohort import read_cohort
    from nnstudent.errors import InputError
    from nnstudent.inference.calibration import sample_cohort
    from nnstudent.serialization import read_json_table
    from nnstudent.taxonomy import find_taxonomy

    card = read_json_table(args.card, what="a model card") if args.card is not None else {}
    if args.int8 != (args.calibration is not None):
        raise InputError(
            "--int8 and --calibration go together: --int8 --calibration COHORT, a folder that nnstudent index made"
        )
    int8 = partial(sample_cohort, read_cohort(args.calibration)) if args.int8 else None
    if (args.behind is None) != (args.hosts is None):
        raise InputError("--behind and --hosts go together: --behind bundled --hosts hosts.json")
    if args.behind is not None and args.taxonomy is not None:
        raise InputError(
            "--taxonomy does not go with --behind: the bundle in front has its label table already"
        )
    display = Display()
    how: dict[str, Any] = {
        "context_mm": args.near,
        "fold": args.fold,
        "card": card,
        "torch_weights": not args.no_torch,
        "int8": int8,
        "trust_pickle": args.trust_pickle,
        "progress": display,
    }
    if args.behind is not None:
        hosts = _hosts(args.hosts)
        behind = None if args.behind == "bundled" else Path(args.behind)
        out = add_lesion_stage(
            behind, args.model, args.output, hosts=hosts, window=_window(args.window), **how
        )
    else:
        table = None if args.taxonomy is None else find_taxonomy(args.taxonomy)
        out = export(
            args.model, args.output, overlay=args.overlay, second=args.second, taxonomy=table, **how
        )
    display.close()
    model = open_model(out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    write_report(
        args.report,
        {"bundle": str(out), "hash": model.hash, "classes": list(model.classes), "bytes": size},
    )
    print(
        f"{out}: {len(model.networks)} network{'s' if len(model.networks) > 1 else ''}, {len(model.classes)} classes, {size / 1e6:.1f} MB"
    )
    print(f"segment with: nnstudent segment CT.nii.gz -o labels.nii.gz --model {out}")
    return 0


def _window(text: str | None) -> tuple[int, int, int] | None:
    from nnstudent.errors import InputError

    if text is None:
        return None
    sizes = text.split(",")
    if len(sizes) != 3 or not all(size.strip().isdigit() and int(size) for size in sizes):
        raise InputError(f"--window {text}; expected three numbers of voxels, such as 48,96,96")
    return int(sizes[0]), int(sizes[1]), int(sizes[2])


def _hosts(path: Path) -> dict[str, HostRule]:
    """The rules of a lesion stage's hosts, read from JSON."""
    from nnstudent.bundle.spec import HostRule
    from nnstudent.errors import InputError
    from nnstudent.serialization import from_plain, read_json_table

    table = read_json_table(path, what="the hosts of a lesion stage")
    if not table:
        raise InputError(
            f'{path}: expected a table of organs, such as {{"liver": {{"threshold": 0.5, "least_ml": 0.3}}}}'
        )
    return {
        str(name): from_plain(HostRule, rule, f"{path}: {name}") for name, rule in table.items()
    }
