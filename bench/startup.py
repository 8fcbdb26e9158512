"""How long nnstudent takes to start: `nnstudent --help`, and `segment` up to its first window.

  python -m bench.startup
  python -m bench.startup --scan ct.nii.gz --repeats 9 --model BUNDLE

Each run is a process of its own, and medians count; use an idle machine, and run it once before to
warm the disk. The first window is noticed from outside, by the progress that `segment` prints after
it, so its time includes reading, preprocessing and that window. Without --scan a phantom of
512×512×100 voxels is read.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.scans import full_scan

COMMAND = [sys.executable, "-m", "nnstudent"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--scan", type=Path, help="image to segment (default: a phantom of 512×512×100)"
    )
    parser.add_argument("--model", type=Path, help="default: the bundled student")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--work", type=Path, default=Path("runs/bench"), help="folder for the phantom"
    )
    args = parser.parse_args()
    scan = (
        args.scan
        or full_scan(args.work / "scans" / "100x512", 100, plane=512) / "images" / "ct_0000.nii.gz"
    )
    print(f"nnstudent --help  {median(help_seconds, args.repeats):.2f} s")
    first = median(lambda: first_window_seconds(scan, args.model), args.repeats)
    print(f"to first window   {first:.2f} s")


def median(measure: Callable[[], float], repeats: int) -> float:
    measure()  # warms the disk
    return statistics.median(measure() for _ in range(repeats))


def help_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([*COMMAND, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def first_window_seconds(scan: Path, model: Path | None = None) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *COMMAND,
            "segment",
            str(scan),
            "-o",
            f"{folder}/labels.nii.gz",
            *(["--model", str(model)] if model else []),
        ]
        began = time.perf_counter()
        # No terminal, so that progress comes as lines.
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ
        ) as process:
            try:
                said = []
                for line in process.stderr or ():
                    if line.startswith("windows: "):
                        return time.perf_counter() - began
                    said.append(line)
            finally:
                process.kill()
    sys.exit(f"no window ran: {''.join(said).strip()}")


if __name__ == "__main__":
    main()
