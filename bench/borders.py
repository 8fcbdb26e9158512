"""Where a model draws the borders of its organs: DSC by class for shifts of the class's logits.

  python -m bench.borders cohort --model bundled

For each class and each shift: the mean DSC over the scans that show the whole organ, how many times
its true volume it has without a shift, and on how many scans each shift is better than none.
``nnstudent export --shift`` writes a bundle with the shifts that are chosen from it. Everything is
measured on the network's grid, without post-processing. Labels of one more maker, in a folder of
label maps named after the cases, are compared as well where ``--second`` names it: then only voxels
count on which both makers agree.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.bundle.store import find_model
from nnstudent.cli.common import Display
from nnstudent.cohort.cohort import Case, read_cohort
from nnstudent.inference.grid.preprocess import Frame, preprocess
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.inference.lesion_stage import labels_on_network_grid
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image, read_labels
from nnstudent.types import Float32Array, LabelArray, MaskArray

SHIFTS = (-2.0, -1.5, -1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0, 1.5)
LEAST_ML = 10.0  # an organ with less is a fragment, unless the label table expects so little
Curve = tuple[list[float], float]  # DSC by shift, and the volume without one relative to the truth


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path, help="cohort folder with labels")
    parser.add_argument("--model", type=Path, default=Path("bundled"))
    parser.add_argument("--second", type=Path, help="label maps of one more maker")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cohort = read_cohort(args.cohort)
    segmenter = Segmenter(find_model(args.model), threads=args.threads, windows="guided")
    curves: dict[str, list[Curve]] = defaultdict(list)
    display = Display()
    cases = [case for case in cohort if case.label is not None]
    for done, case in enumerate(cases, start=1):
        second = None if args.second is None else args.second / f"{case.id}.nii.gz"
        for name, curve in case_curves(segmenter, case, second=second).items():
            curves[name].append(curve)
        display("borders", done, len(cases))
    table = {name: summary(curves[name]) for name in segmenter.model.classes if name in curves}
    print("shift".ljust(22), *(f"{shift:+7.1f}" for shift in SHIFTS), "  volume  scans")
    for name, row in table.items():
        print(name.ljust(22), *(f"{100 * value:7.1f}" for value in row["dsc"]), end="")
        print(f"{row['volume']:9.2f}{row['scans']:7d}")
        print("  better on".ljust(22), *(f"{value:7d}" for value in row["better"]))
    if args.json:
        args.json.write_text(json.dumps({"shifts": SHIFTS, "classes": table}, indent=1) + "\n")


def case_curves(segmenter: Segmenter, case: Case, *, second: Path | None) -> dict[str, Curve]:
    """The curve of each organ that the scan shows as a whole."""
    assert case.label is not None
    spec = segmenter.runner.network(0).spec
    values, frame = preprocess(read_image(case.image), spec)
    held: list[ClassScores] = []
    segmenter.runner.run_network(0, values, frame=frame, take=held.append)
    labels = read_labels(case.label)
    truth = labels_on_network_grid(labels.array, frame)
    other = None
    if second is not None and second.is_file():
        other = labels_on_network_grid(read_labels(second).array, frame)
    voxel_ml = float(np.prod(frame.grid.spacing_mm)) * _ratio(frame) / 1000
    found = {}
    for channel, name in enumerate(spec.classes):
        if not channel or name not in case.annotated or name in segmenter.taxonomy.lesions:
            continue
        id = segmenter.taxonomy[name].id
        own, counted = truth == id, None
        if other is not None and (other == id).any():
            own, counted = own & (other == id), ~(own ^ (other == id))
        least = min(LEAST_ML, segmenter.taxonomy[name].minimum_ml or LEAST_ML)
        if is_whole(own, voxel_ml=voxel_ml, least_ml=least):
            found[name] = curve(margin(held[0].values, channel), own, counted=counted)
    return found


def _ratio(frame: Frame) -> float:
    """Voxels of the image for each voxel of the network's grid."""
    return float(np.prod(frame.grid.shape)) / float(np.prod(frame.shape))


def is_whole(mask: MaskArray, *, voxel_ml: float, least_ml: float) -> bool:
    """Whether an organ is large enough, and neither in the first nor in the last plane."""
    return bool(mask.sum() * voxel_ml >= least_ml and not mask[0].any() and not mask[-1].any())


def margin(logits: Float32Array, channel: int) -> Float32Array:
    """By how much a class's logits are above the highest of the others, (z, y, x).

    Where no window was run, it is far below 0.
    """
    others = np.delete(logits, channel, axis=0)
    unseen = (logits[0] == 1) & (logits[1:] == 0).all(axis=0)
    found: Float32Array = np.where(unseen, -np.inf, logits[channel] - others.max(axis=0))
    return found.astype(np.float32)


def curve(
    margins: Float32Array, truth: MaskArray | LabelArray, *, counted: MaskArray | None = None
) -> Curve:
    """DSC for each shift, and the volume without a shift relative to the truth."""
    own = truth.astype(bool)
    scores = []
    for shift in SHIFTS:
        found = margins + np.float32(shift) > 0
        if counted is not None:
            found &= counted
        scores.append(float(2 * (found & own).sum() / (found.sum() + own.sum())))
    volume = (margins > 0) if counted is None else (margins > 0) & counted
    return scores, float(volume.sum() / own.sum())


def summary(curves: Sequence[Curve]) -> dict[str, Any]:
    """The mean of some scans' curves, and on how many of them each shift is better than none."""
    scores = np.array([scores for scores, _ in curves])
    none = scores[:, [SHIFTS.index(0.0)]]
    return {
        "scans": len(curves),
        "volume": float(np.mean([volume for _, volume in curves])),
        "dsc": [round(float(value), 4) for value in scores.mean(axis=0)],
        "better": [int(value) for value in (scores > none).sum(axis=0)],
    }


if __name__ == "__main__":
    main()
