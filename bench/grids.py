"""The DSC that the grids of bench/semisupervised.toml lose by themselves.

  python -m bench.grids --cases 10

The truth of test scans is resampled to a grid and back and compared with itself. No network on such
a grid can be expected to score higher. Interpolation is linear in both directions, class by class.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.common import ROOT, phantom_cohort
from bench.semisupervised_arms import COUNTS
from nnstudent.bundle.spec import Resampling
from nnstudent.cli.common import Display
from nnstudent.evaluation.metrics import dsc
from nnstudent.inference.grid.resample import new_shape, resample
from nnstudent.io.nifti import read_labels
from nnstudent.pipeline.preset import load_preset
from nnstudent.volume import Spacing, Volume


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / "runs" / "semisupervised",
        help="where the cohort is, or is made",
    )
    args = parser.parse_args()
    cohort = phantom_cohort(args.work / "cohort", COUNTS, preset="tiny", progress=Display())
    coarse = load_preset(ROOT / "bench" / "semisupervised.toml").student.data.spacing_mm
    fine = (coarse[0] / 2, coarse[1] / 2, coarse[2] / 2)
    table = cohort.taxonomy
    for name, grid in (("small network", coarse), ("second stage of the cascade", fine)):
        kept: dict[str, list[float]] = {organ: [] for organ in table.organs}
        for case in cohort.test()[: args.cases]:
            assert case.label is not None
            truth = read_labels(case.label).reoriented()
            found = carried(truth, grid, [table[organ].id for organ in table.organs])
            for organ in table.organs:
                if (truth.array == table[organ].id).any():
                    kept[organ].append(
                        dsc(found == table[organ].id, truth.array == table[organ].id)
                    )
        means = {organ: float(np.mean(values)) for organ, values in kept.items() if values}
        listed = ", ".join(f"{organ} {value:.2f}" for organ, value in means.items())
        print(
            f"{name}, {'×'.join(f'{mm:g}' for mm in grid)} mm: "
            f"mean DSC {np.mean(list(means.values())):.3f}; {listed}",
            flush=True,
        )


def carried(labels: Volume, grid: Spacing, ids: Sequence[int]) -> np.typing.NDArray[np.uint8]:
    """Labels resampled to a grid of this spacing and back."""
    how = Resampling(1, 1, force_separate_z=False)
    shape = new_shape(labels.array.shape, labels.spacing_mm, grid)
    best, found = (
        np.full(labels.array.shape, -np.inf, np.float32),
        np.zeros(labels.array.shape, np.uint8),
    )
    for id in (0, *ids):
        share = resample(
            (labels.array == id).astype(np.float32),
            shape,
            how,
            spacing=labels.spacing_mm,
            target=grid,
        )
        share = resample(share, labels.array.shape, how, spacing=grid, target=labels.spacing_mm)
        better = share > best
        best[better], found[better] = share[better], id
    return found


if __name__ == "__main__":
    main()
