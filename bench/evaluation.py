"""Time DSC and NSD against the surface-distance package, for 13 organs on 512×512×119 voxels.

  python -m bench.evaluation [--seed 0] [--repeats 3] [--labels LABELS.nii.gz]

The truth is a phantom's label map (or the one given) on a grid of 512×512×119 voxels of 0.8×0.8×2.5
mm. Predictions are made from it by smooth displacement: by a few millimeters (fair), and by more
(poor). Both sides receive the same arrays; reading is not included. The package is called as the
challenge's script does, once per organ on the whole volume, but without its quirks. This needs the
extra [dev], which brings the package.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import ndimage

from nnstudent.evaluation.metrics import bounding_boxes
from nnstudent.evaluation.protocols import STRICT, score
from nnstudent.io.nifti import read_labels
from nnstudent.taxonomy import flare23
from nnstudent.types import LabelArray

SHAPE, SPACING = (119, 512, 512), (2.5, 0.8, 0.8)
TABLE = flare23()
ORGANS = [TABLE[name] for name in TABLE.organs]
Scores = dict[str, tuple[float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--repeats", type=int, default=3, help="the quickest of so many counts, for both"
    )
    parser.add_argument("--labels", type=Path, help="a label map to take instead of a phantom's")
    args = parser.parse_args()

    truth = on_grid(args.labels, args.seed)
    volumes = {
        item.name: int((truth == item.id).sum() * np.prod(SPACING) / 1000) for item in ORGANS
    }
    print(
        f"{platform.machine()}, {platform.python_version()}, numpy {np.__version__}; "
        f"seed {args.seed}; one thread"
    )
    print("organs, ml: " + ", ".join(f"{name} {ml}" for name, ml in volumes.items()))
    package = load_package()
    for kind, displacement_mm in (("fair", 4.0), ("poor", 15.0)):
        prediction = displaced(truth, displacement_mm, args.seed)
        ours, own_seconds = quickest(partial(our_scores, prediction, truth), args.repeats)
        theirs, their_seconds = quickest(
            partial(package_scores, package, prediction, truth), args.repeats
        )
        apart = max(
            abs(a - b) for name in ours for a, b in zip(ours[name], theirs[name], strict=True)
        )
        means = np.mean(list(ours.values()), axis=0)
        print(
            f"{kind} prediction (mean DSC {means[0]:.3f}, NSD {means[1]:.3f}): "
            f"nnstudent {own_seconds:.3f} s, surface-distance {their_seconds:.3f} s, "
            f"ratio {their_seconds / own_seconds:.1f}; largest difference {apart:.1e}"
        )


def our_scores(prediction: np.ndarray, truth: np.ndarray) -> Scores:
    predicted, true = bounding_boxes(prediction), bounding_boxes(truth)
    found = {}
    for item in ORGANS:
        both = predicted.get(item.id), true.get(item.id)
        result = score(
            prediction, truth, item=item, boxes=both, spacing_mm=SPACING, protocol=STRICT
        )
        found[item.name] = result.dsc, result.nsd
    return found


def package_scores(package: Any, prediction: np.ndarray, truth: np.ndarray) -> Scores:
    found = {}
    for item in ORGANS:
        one, other = prediction == item.id, truth == item.id
        if not one.any() or not other.any():
            found[item.name] = (1.0, 1.0) if one.any() == other.any() else (0.0, 0.0)
            continue
        distances = package.compute_surface_distances(other, one, SPACING)
        found[item.name] = (
            float(package.compute_dice_coefficient(other, one)),
            float(package.compute_surface_dice_at_tolerance(distances, item.nsd_mm)),
        )
    return found


def load_package() -> Any:
    """Import the package, with the names that newer NumPy and SciPy dropped and it needs."""
    vars(np).update(Inf=np.inf, NaN=np.nan)
    ndimage.filters = SimpleNamespace(correlate=ndimage.correlate)
    ndimage.morphology = SimpleNamespace(distance_transform_edt=ndimage.distance_transform_edt)
    import surface_distance

    return surface_distance


def quickest(work: Callable[[], Scores], repeats: int) -> tuple[Scores, float]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


def on_grid(path: Path | None, seed: int) -> np.ndarray:
    """A label map on the benchmark's grid, organs in the middle, (z, y, x)."""
    if path is None:
        from nnstudent.phantom import make_case

        labels = make_case(seed).truth.reoriented()
    else:
        labels = read_labels(path).reoriented()
    used = [
        np.flatnonzero(labels.array.any(axis=tuple(a for a in range(3) if a != axis)))
        for axis in range(3)
    ]
    grid = []
    for places, size, mm, source_mm in zip(used, SHAPE, SPACING, labels.spacing_mm, strict=True):
        middle = (places[0] + places[-1]) / 2
        grid.append(
            np.round((np.arange(size) - (size - 1) / 2) * mm / source_mm + middle).astype(int)
        )
    inside = [
        (index >= 0) & (index < size) for index, size in zip(grid, labels.array.shape, strict=True)
    ]
    out = np.zeros(SHAPE, np.uint8)
    out[np.ix_(*inside)] = labels.array[
        np.ix_(*(index[ok] for index, ok in zip(grid, inside, strict=True)))
    ]
    out[~np.isin(out, [item.id for item in ORGANS])] = 0
    return out


def displaced(labels: np.ndarray, mm: float, seed: int) -> np.ndarray:
    """Labels displaced by a smooth random field whose standard deviation at its knots is ``mm``."""
    random = np.random.default_rng(seed)
    knots = (8, 10, 10)
    index = []
    for axis, (size, spacing) in enumerate(zip(SHAPE, SPACING, strict=True)):
        field = ndimage.zoom(
            random.normal(0, mm / spacing, knots),
            [n / k for n, k in zip(SHAPE, knots, strict=True)],
            order=1,
        )
        here = np.arange(size, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        index.append(np.clip(np.round(field + here), 0, size - 1).astype(np.int32))
    moved: LabelArray = labels[tuple(index)]
    return moved


if __name__ == "__main__":
    main()
