"""Seconds per case of a whole folder against single cases, and how busy the cores are.

  python -m bench.folder --cases 6 --slices 100 --repeats 3 --json folder.json

Two processes take turns: `nnstudent segment FOLDER` from the command to the last file, and one that
loads the model, segments a case to warm up, and then segments each case of the folder by itself.
Busy is CPU time over wall time and cores: for the folder's process as a whole, including its start,
and for the other without start, model and warm-up. Labels must be equal to the voxel. On a busy
machine the figures mean little, because both sides use every core.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import in_own_process
from bench.scans import full_scan
from nnstudent.inference.files.find import find_cases
from nnstudent.inference.files.segment import segment_file
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_labels
from nnstudent.machine import cores

CORES = cores()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--plane", type=int, default=512, help="voxels in plane")
    parser.add_argument("--model", type=Path, help="default: the bundled student")
    parser.add_argument("--windows", default="dense")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/bench"), help="folder for phantoms and results"
    )
    parser.add_argument("--one-by-one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one_by_one:
        one_by_one(args.one_by_one, args.work, args.model, args.windows)
        return
    scans = folder_of_scans(args.work, args.cases, args.slices, args.plane)
    rows = bench(
        scans,
        args.work / "out" / "folder",
        model=args.model,
        windows=args.windows,
        repeats=args.repeats,
    )
    for name, row in rows.items():
        print(f"{name:<10}  {row['seconds_a_case']:.2f} s a case, cores busy {row['busy']:.0%}")
    if args.json:
        args.json.write_text(
            json.dumps(
                {"cores": CORES, "cases": args.cases, "slices": args.slices, **rows}, indent=1
            )
            + "\n"
        )


def folder_of_scans(work: Path, cases: int, slices: int, plane: int) -> Path:
    """Phantoms of different patients in one folder."""
    folder = work / "scans" / f"folder-{cases}x{slices}x{plane}"
    for seed in range(cases):
        scan = full_scan(
            work / "scans" / f"{slices}x{plane}-{seed}", slices, plane=plane, seed=seed
        )
        target = folder / f"case{seed}_0000.nii.gz"
        if not target.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(scan / "images" / "ct_0000.nii.gz", target)
    return folder


def bench(
    scans: Path, out: Path, *, model: Path | None, windows: str, repeats: int
) -> dict[str, Any]:
    """Run both in turn; medians of seconds per case and of how busy the cores are."""
    shutil.rmtree(out, ignore_errors=True)
    given = ["--windows", windows, *(["--model", str(model)] if model else [])]
    folder = [
        sys.executable,
        "-m",
        "nnstudent",
        "segment",
        str(scans),
        "-o",
        str(out / "folder"),
        *given,
    ]
    command, environment = in_own_process("bench.folder")
    single = [*command, "--one-by-one", str(scans), "--work", str(out / "single"), *given]
    runs: dict[str, list[dict[str, float]]] = {"folder": [], "one by one": []}
    count = len(list(scans.iterdir()))
    for _ in range(repeats):
        runs["folder"].append(
            spent(
                lambda: subprocess.run(folder, check=True, stderr=subprocess.DEVNULL),
                count,
                children=True,
            )
        )
        runs["one by one"].append(
            json.loads(
                subprocess.run(
                    single, env=environment, check=True, capture_output=True, text=True
                ).stdout
            )
        )
        for path in (out / "single").iterdir():
            if not np.array_equal(
                read_labels(path).array, read_labels(out / "folder" / path.name).array
            ):
                sys.exit(f"{path.name}: the folder's labels are not those of the case by itself")
    return {
        name: {key: statistics.median(run[key] for run in of) for key in of[0]}
        for name, of in runs.items()
    }


def one_by_one(scans: Path, out: Path, model: Path | None, windows: str) -> None:
    segmenter = Segmenter(model, precision="auto", windows=windows)
    cases = find_cases(scans, out)
    segment_file(cases[0], segmenter)
    print(
        json.dumps(
            spent(
                lambda: [segment_file(case, segmenter) for case in cases],
                len(cases),
                children=False,
            )
        )
    )


def spent(work: Callable[[], object], cases: int, *, children: bool) -> dict[str, float]:
    began, before = time.perf_counter(), os.times()
    work()
    wall, after = time.perf_counter() - began, os.times()
    first = 2 if children else 0  # user and system, of children or of this process
    return {
        "seconds_a_case": wall / cases,
        "busy": (sum(after[first : first + 2]) - sum(before[first : first + 2])) / (wall * CORES),
    }


if __name__ == "__main__":
    main()
