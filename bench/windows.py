"""How many windows each way of laying them runs on phantoms, with the truth in place of a network.

python bench/windows.py --cases 8 --patch 48,80,96 --spacing 4,3,3
"""

from __future__ import annotations

import argparse

import numpy as np

from nnstudent.bundle.spec import Normalization, Resampling
from nnstudent.cohort.phantom import make_case
from nnstudent.inference.body import air_limit
from nnstudent.inference.flare22 import TUBES, flare22
from nnstudent.inference.guided import guided
from nnstudent.inference.resample import new_shape, resample
from nnstudent.inference.windows import dense, dense_starts, pad, slide
from nnstudent.taxonomy import flare23


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--patch", type=lambda text: tuple(int(n) for n in text.split(",")), default=(48, 80, 96))
    parser.add_argument("--spacing", type=lambda text: tuple(float(n) for n in text.split(",")), default=(4.0, 3.0, 3.0))
    args = parser.parse_args()
    air = air_limit(Normalization("ct", mean=0, std=1, lower=-1000, upper=1000))
    planners = {
        "dense": dense,
        "guided": guided(spacing_mm=args.spacing, air=air),
        "guided, rim 1/4": guided(spacing_mm=args.spacing, air=air, rim=0.25),
        "flare22": flare22(tubes=[flare23()[name].id for name in TUBES]),
    }
    total = dict.fromkeys(planners, 0)
    for seed in range(1, args.cases + 1):
        case = make_case(seed, preset=args.preset)
        image, truth = case.image.reoriented("RAS"), case.truth.reoriented("RAS")
        shape = new_shape(image.array.shape, image.spacing_mm, args.spacing)
        frame = {"spacing": image.spacing_mm, "target": args.spacing}
        values = resample(image.array.astype(np.float32), shape, Resampling(1), **frame)
        labels = resample(truth.array.astype(np.float32), shape, Resampling(0), **frame)
        for name, planner in planners.items():
            ran, right = run(values, labels, args.patch, planner)
            total[name] += ran
            planned = len(dense_starts(pad(values, args.patch)[0].shape, args.patch))
            print(f"seed {seed}  {name:<16} {ran:>4} of {planned:>4}  {ran / planned:.2f}  foreground kept {right:.4f}", flush=True)
    for name, ran in total.items():
        print(f"all     {name:<16} {ran:>4} of {total['dense']:>4}  {ran / total['dense']:.2f}")


def run(values, labels, patch, planner) -> tuple[int, float]:
    padded, _ = pad(labels, patch)
    now = [(0, 0, 0)]

    def listening(scene, look):
        def heard(start, **keep):
            now[0] = start
            return look(start, **keep)

        planner(scene, heard)

    def oracle(window):
        place = tuple(slice(first, first + size) for first, size in zip(now[0], patch, strict=True))
        return 10 * (np.arange(15)[:, None, None, None] == padded[place]).astype(np.float32)

    logits, ran = slide(values, oracle, patch=patch, classes=15, planner=listening)
    return ran, float((logits.argmax(axis=0) == labels)[labels > 0].mean())


if __name__ == "__main__":
    main()
