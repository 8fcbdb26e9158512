"""Seconds and peak memory for a scan of 512×512×1500 voxels under a memory limit.

  python -m bench.whole_body
  python -m bench.whole_body --limit 2GB --model MODEL

The scan is three phantoms of 500 mm in a row. `nnstudent segment` runs as a whole process, measured
as by `nnstudent profile`. The predicted peak memory is printed too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bench.scans import Contender, full_scan, run_ours
from nnstudent.inference.memory import parse_size
from nnstudent.io.nifti import read_image, write_image
from nnstudent.volume import Grid, Volume


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--limit", default="4GB", help="as of segment --memory-limit (default: 4GB)"
    )
    parser.add_argument("--model", type=Path, help="a bundle (default: the bundled student)")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/bench"), help="folder for scans and results"
    )
    args = parser.parse_args()
    scan = whole_body(args.work / "scans" / "1500x512", args.work / "scans" / "500x512")
    for windows in ("guided", "dense"):
        out = args.work / "out" / "1500" / f"{windows}.nii.gz"
        run = run_ours(
            Contender("whole body", args.model, None),
            scan,
            out,
            "--memory-limit",
            args.limit,
            "--windows",
            windows,
        )
        assert run.report is not None
        print(
            f"{windows}: {run.seconds:.1f} s, {run.report['windows']['run']} windows, "
            f"{run.peak_rss_mb:.0f} MiB at the peak, "
            f"{run.report['predicted_peak_mb']:.0f} predicted, "
            f"{parse_size(args.limit):.0f} allowed",
            flush=True,
        )


def whole_body(folder: Path, one: Path, *, slices: int = 500, plane: int = 512) -> Path:
    """Three scans in a row, made if the file is missing."""
    path = folder / "images" / "ct_0000.nii.gz"
    if not path.is_file():
        image = read_image(full_scan(one, slices, plane=plane) / "images" / "ct_0000.nii.gz")
        array = np.concatenate([image.array] * 3)
        write_image(path, Volume(array, Grid(array.shape, image.grid.affine)))
    return folder


if __name__ == "__main__":
    main()
