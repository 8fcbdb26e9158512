"""How many windows each way of placing them runs, and the DSC that skipping windows costs.

  python -m bench.windows --phantoms 6 --patch 32,128,192 --spacing 4,1.2,1.2
      the truth in place of a network: windows only
  python -m bench.windows --phantoms 6 --model MODEL
      a model (bundled: the one in the package)
  python -m bench.windows --phantoms 6 --model MODEL --defaults
      as segment does by default: fastest arithmetic, postprocessing

With a model, the public CT in NNSTUDENT_DATA are segmented too. The cost is the DSC of dense less
that of another way, in fp32, without postprocessing, against the given labels (on CT those of
another model, whole organs only). The table also has the DSC against dense itself. With --defaults
dense stays in fp32, the other ways run in the fastest arithmetic of model and CPU, and all results
are postprocessed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from nnstudent.bundle.spec import Normalization, Resampling
from nnstudent.evaluation.evaluate import evaluate
from nnstudent.inference.grid.resample import new_shape, resample
from nnstudent.inference.labels.postprocess import DEFAULT
from nnstudent.inference.segmenter import Segmenter
from nnstudent.inference.windows.accumulator import WindowLogits
from nnstudent.inference.windows.body import air_limit
from nnstudent.inference.windows.flare22 import TUBES, flare22
from nnstudent.inference.windows.guided import guided
from nnstudent.inference.windows.sliding import Canvas, Planner, dense, pad
from nnstudent.io.nifti import read_image, read_labels, write_labels
from nnstudent.phantom import make_case
from nnstudent.taxonomy import flare23
from nnstudent.types import Float32Array
from nnstudent.volume import Shape, Spacing, Volume

Scans = Mapping[str, tuple[Volume, Volume]]  # image and truth by case
CT = ("acrin_flt_001", "cmb_crc_01068", "cptac_C3L-00189", "lidc_0314", "ts_example")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phantoms", type=int, default=4)
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first phantom; the next one's is one more"
    )
    parser.add_argument("--preset", default="standard")
    parser.add_argument(
        "--patch", type=lambda text: tuple(int(n) for n in text.split(",")), default=(48, 80, 96)
    )
    parser.add_argument(
        "--spacing",
        type=lambda text: tuple(float(n) for n in text.split(",")),
        default=(4.0, 3.0, 3.0),
    )
    parser.add_argument("--model", help="a bundle or nnU-Net folder, or bundled")
    parser.add_argument(
        "--ways",
        type=lambda text: text.split(","),
        default=["guided"],
        help="to compare with dense, where there is a model",
    )
    parser.add_argument(
        "--defaults", action="store_true", help="the other ways as segment does it unasked"
    )
    args = parser.parse_args()
    cases = {
        f"phantom {seed}": make_case(seed, preset=args.preset)
        for seed in range(args.seed, args.seed + args.phantoms)
    }
    if args.model is None:
        count(
            {name: (case.image, case.truth) for name, case in cases.items()},
            args.patch,
            args.spacing,
        )
        return
    model = None if args.model == "bundled" else Path(args.model)
    data = Path(os.environ.get("NNSTUDENT_DATA", ""))
    if (data / CT[0]).is_dir():
        scans = {
            name: (read_image(data / name / "ct.nii.gz"), read_labels(data / name / "label.nii.gz"))
            for name in CT
        }
        cost("CT", scans, model, ["dense", *args.ways], whole=True, defaults=args.defaults)
    phantoms = {name: (case.image, case.truth) for name, case in cases.items()}
    cost("phantoms", phantoms, model, ["dense", *args.ways], whole=False, defaults=args.defaults)


def cost(
    title: str,
    cases: Scans,
    model: Path | None,
    names: Sequence[str],
    *,
    whole: bool,
    defaults: bool,
) -> None:
    """Segment every case in every way and compare the results."""
    rules = DEFAULT if defaults else ()
    precision = {name: "auto" if defaults and name != "dense" else "fp32" for name in names}
    ways = {
        name: Segmenter(model, windows=name, precision=precision[name], postprocess=rules)
        for name in names
    }
    table = ways["dense"].taxonomy
    ran = {name: Counter[str]() for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for case, (image, truth) in cases.items():
            write_labels(work / "truth" / f"{case}.nii.gz", truth)
            for name, segment in ways.items():
                result = segment(image)
                write_labels(work / name / f"{case}.nii.gz", result.labels)
                ran[name] += Counter(result.windows)
                print(
                    f"{case}  {name:<8} {result.windows['run']:>4} of {result.windows['planned']}",
                    flush=True,
                )
        # The truth of a CT has no tumor annotated.
        against = partial(evaluate, taxonomy=table, classes=table.organs)
        scores = {name: against(work / name, work / "truth", whole_organs=whole) for name in ways}
        agreement = {name: against(work / name, work / "dense") for name in ways}
    print(f"\n{title}: {len(cases)} cases\n")
    print(
        "| windows | run | organ DSC | cost | worst class | DSC against dense |\n"
        "|---|---|---|---|---|---|"
    )
    base = scores["dense"].means()
    for name, scored in scores.items():
        means = scored.means()
        costs = {
            organ: base[organ].dsc - means[organ].dsc for organ in table.organs if organ in means
        }
        worst = max(costs, key=lambda organ: costs[organ])
        print(
            f"| {name} | {ran[name]['run']} of {ran[name]['planned']} "
            f"| {means['organs'].dsc:.4f} | {statistics.mean(costs.values()):+.4f} "
            f"| {costs[worst]:+.4f} {worst} | {agreement[name].means()['organs'].dsc:.4f} |",
            flush=True,
        )


def count(cases: Scans, patch: Shape, spacing: Spacing) -> None:
    """Run every window planner with the truth in place of a network."""
    air = air_limit(Normalization("ct", mean=0, std=1, lower=-1000, upper=1000))
    tubes = [flare23()[name].id for name in TUBES]
    planners = {
        "dense": dense,
        "guided": guided(spacing_mm=spacing, air=air),
        "flare22": flare22(tubes=tubes),
    }
    total = dict.fromkeys(planners, 0)
    for case, (image, truth) in cases.items():
        image, truth = image.reoriented("RAS"), truth.reoriented("RAS")
        shape = new_shape(image.array.shape, image.spacing_mm, spacing)
        onto = partial(resample, shape=shape, spacing=image.spacing_mm, target=spacing)
        values = onto(image.array.astype(np.float32), how=Resampling(1))
        labels = onto(truth.array.astype(np.float32), how=Resampling(0))
        for name, planner in planners.items():
            ran, right = run(values, labels, patch, planner)
            total[name] += ran
            print(f"{case}  {shape}  {name:<8} {ran:>4}  foreground seen {right:.4f}", flush=True)
    for name, ran in total.items():
        print(f"all  {name:<8} {ran:>4} of {total['dense']:>4}  {ran / total['dense']:.2f}")


def run(
    values: Float32Array, labels: Float32Array, patch: Shape, planner: Planner
) -> tuple[int, float]:
    padded, place = pad(values, patch)
    truth, _ = pad(labels, patch)
    seen = np.zeros(padded.shape, bool)
    ran = 0

    def run_window(
        start: Shape, *, keep: Callable[[WindowLogits], bool] = lambda logits: True
    ) -> WindowLogits:
        nonlocal ran
        ran += 1
        window = tuple(slice(first, first + size) for first, size in zip(start, patch, strict=True))
        own = np.arange(15, dtype=np.float32)[:, None, None, None] == truth[window]
        logits = WindowLogits(10 * own.astype(np.float32))
        seen[window] |= keep(logits)
        return logits

    planner(Canvas(padded, place, patch), run_window)
    return ran, float(seen[truth > 0].mean())


if __name__ == "__main__":
    main()
