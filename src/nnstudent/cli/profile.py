"""Measure what a command costs in time, memory and GPU memory.

  nnstudent profile -- nnstudent segment ct.nii.gz -o labels.nii.gz
      runs the command, then prints the figures; start-up and loading the model
      count, as in the challenge
  nnstudent profile --json cost.json --plot cost.svg -- sh predict.sh
      also writes the samples of memory, ten per second, and draws them

The figures are those of the command with all its child processes, and whether
they keep FLARE23's tolerances. The command's input, output and exit code are
passed through; the figures go to standard error. Without a GPU, its figures say
so.

Exit codes: the command's own (128 + the number of the signal that ended it); 2
if it could not be started or the usage is wrong.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnstudent.profiling import Profile, Tolerance

HELP = "measure a command: seconds, peak memory, area under the memory-time curve"
_UNITS = {"gpu_mb": "of GPU memory", "ram_mb": "of RAM"}


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
        help="number of the GPU to measure, as nvidia-smi counts (default: 0)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command, print its figures, and return its exit code."""
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
    """Return a command's figures, one per line."""
    rows = [
        ("wall time", f"{found.wall_seconds:.2f} s"),
        ("CPU time", f"{found.cpu_seconds:.2f} s"),
        ("peak memory", f"{_gb(found.peak_rss_mb)} resident{_pss(found)}"),
        ("memory-time area", f"{_gb(found.rss_area_mb_s)}·s"),
        ("peak GPU memory", _gpu_memory(found)),
        ("GPU memory-time area", _gpu_area(found)),
        *((f"FLARE23 {_limit(item)}", _kept(item, found)) for item in found.tolerances),
        ("exit code", str(found.exit_code)),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _gb(mib: float) -> str:
    from nnstudent.inference.memory import gigabytes

    return f"{gigabytes(mib):.2f} GB"


def _limit(item: Tolerance) -> str:
    """Return a limit as the challenge states it, in GiB."""
    if item.what == "seconds":
        return f"{item.limit:g} s"
    return f"{item.limit / 1024:g} GiB {_UNITS[item.what]}"


def _pss(found: Profile) -> str:
    if found.peak_pss_mb is None:
        return ""
    return f" ({_gb(found.peak_pss_mb)} with shared pages counted once)"


def _gpu_memory(found: Profile) -> str:
    if found.peak_gpu_mb is None:
        return found.gpu_missing
    before = ""
    if found.gpu_before_mb:
        before = f"; {_gb(found.gpu_before_mb)} before it started"
    return f"{_gb(found.peak_gpu_mb)} ({found.gpu}{before})"


def _gpu_area(found: Profile) -> str:
    if found.gpu_area_mb_s is None:
        return found.gpu_missing
    return f"{_gb(found.gpu_area_mb_s)}·s"


def _kept(item: Tolerance, found: Profile) -> str:
    if item.within is None:
        return found.gpu_missing
    return "kept" if item.within else "exceeded"
