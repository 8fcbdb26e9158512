"""Measure what a command costs: seconds, memory of its whole process tree and of the GPU, and FLARE23's tolerances.

  nnstudent profile -- nnstudent segment ct.nii.gz -o labels.nii.gz
      runs the command and then says what it took; start-up and loading the model are in it, as in the challenge

  nnstudent profile --json cost.json --plot cost.svg -- sh predict.sh
      every look at the memory, ten a second, as data and as a picture

The command's input, output and exit code are passed through; what it took goes to standard error. Without a GPU its figures say so.
Exit codes: the command's own (128 + the signal's number if one ended it); 2 if it could not be started or the usage is wrong.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnstudent.profiling import Profile, Tolerance

HELP = "what a command costs: seconds, peak memory, area under the memory-time curve"
_UNITS = {"seconds": "s", "gpu_mb": "MiB of GPU memory", "ram_mb": "MiB of RAM"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="-- COMMAND",
        help="the command to run, with its arguments",
    )
    parser.add_argument(
        "--json",
        "--report",
        dest="report",
        type=Path,
        metavar="FILE.json",
        help="write figures and samples as JSON",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw memory over time, as .svg, .png or .pdf; needs the extra [report]",
    )
    parser.add_argument(
        "--gpu",
        type=int,
        default=0,
        metavar="N",
        help="which GPU to look at, as nvidia-smi counts (default: 0)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command, say what it took; returns its exit code."""
    from nnstudent.cli.common import write_report
    from nnstudent.io.atomic import check_file
    from nnstudent.profiling import profile
    from nnstudent.profiling.plot import check_plot, write_plot

    if args.plot is not None:
        check_plot(args.plot)
        check_file(args.plot)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    found = profile(command, gpu=args.gpu)
    sys.stdout.flush()
    print(summary(found), file=sys.stderr)
    write_report(args.report, {"profile": found.to_dict()})
    if args.plot is not None:
        write_plot(found, args.plot)
    return found.exit_code


def summary(found: Profile) -> str:
    """What a command took, a line a figure."""
    none = found.gpu_missing
    rows = [
        ("wall time", f"{found.wall_seconds:.2f} s"),
        ("CPU time", f"{found.cpu_seconds:.2f} s"),
        ("peak memory", f"{found.peak_rss_mb:.0f} MiB resident{_pss(found)}"),
        ("memory-time area", f"{found.rss_area_mb_s:.0f} MiB·s"),
        (
            "peak GPU memory",
            none
            if found.peak_gpu_mb is None
            else f"{found.peak_gpu_mb:.0f} MiB ({found.gpu}{_before(found)})",
        ),
        (
            "GPU memory-time area",
            none if found.gpu_area_mb_s is None else f"{found.gpu_area_mb_s:.0f} MiB·s",
        ),
        *(
            (f"FLARE23 {item.limit:g} {_UNITS[item.what]}", _kept(item, none))
            for item in found.tolerances
        ),
        ("exit code", str(found.exit_code)),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _pss(found: Profile) -> str:
    return (
        ""
        if found.peak_pss_mb is None
        else f" ({found.peak_pss_mb:.0f} MiB with shared pages counted once)"
    )


def _before(found: Profile) -> str:
    return "" if not found.gpu_before_mb else f"; {found.gpu_before_mb:.0f} MiB before it started"


def _kept(item: Tolerance, none: str) -> str:
    return none if item.within is None else "kept" if item.within else "exceeded"
