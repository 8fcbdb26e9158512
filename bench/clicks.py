"""What clicks do to poorly found organs: Dice before and after each, and seconds per click.

  OMP_NUM_THREADS=1 python -m bench.clicks --phantoms 8 --threads 1

Synthetic patients that the bundled student has not seen are segmented as the service does it. Each
organ whose Dice is below 0.85 is corrected by a simulated user, who clicks in the middle of the
largest piece that is missing or too much, three times. Clicks are answered with the network's
probabilities, and by the image alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from bench.common import ROOT, add_row, commit, machine
from nnstudent.evaluation.metrics import dsc
from nnstudent.inference.pipelining import run_stages
from nnstudent.inference.segmenter import Segmenter
from nnstudent.labels.click import Click, correct_by_click
from nnstudent.phantom import make_case
from nnstudent.types import MaskArray
from nnstudent.volume import Spacing, Volume

ROWS = ROOT / "docs" / "results" / "clicks.json"
BELOW, CLICKS = 0.85, 3


@dataclass(frozen=True, eq=False)
class Organ:
    """An organ that was found poorly, in a phantom in canonical axes."""

    name: str
    id: int
    image: Volume
    labels: Volume
    truth: MaskArray
    probability: Volume


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phantoms", type=int, default=8)
    parser.add_argument(
        "--seed", type=int, default=8001, help="of the first phantom; the next one's is one more"
    )
    parser.add_argument("--preset", default="tiny", help="preset of the phantoms")
    parser.add_argument("--model", type=Path, help="default: the bundled student")
    parser.add_argument("--threads", type=int, help="CPU threads of the network")
    parser.add_argument("--json", type=Path, default=ROWS, metavar="FILE", help="the rows")
    args = parser.parse_args(words)
    segmenter = Segmenter(args.model, precision="auto", windows="guided", threads=args.threads)
    found: dict[str, list[tuple[list[float], list[float]]]] = {"image": [], "scores": []}
    for seed in range(args.seed, args.seed + args.phantoms):
        for organ in poor_organs(segmenter, seed, preset=args.preset):
            for by, results in found.items():
                results.append(clicked(organ, by=by))
                told = " → ".join(f"{dice:.3f}" for dice in results[-1][0])
                print(f"phantom {seed} {organ.name}, by the {by}: {told}", flush=True)
    if not found["image"]:
        print(f"no organ has a Dice below {BELOW}")
        return 1
    for by, results in found.items():
        row = {
            "by": by,
            "preset": args.preset,
            "seeds": [args.seed, args.seed + args.phantoms - 1],
            **summary(results),
            "machine": machine(),
            "commit": commit(),
        }
        add_row(args.json, row)
        print(row)
    return 0


def poor_organs(segmenter: Segmenter, seed: int, *, preset: str) -> Iterator[Organ]:
    """The organs of a phantom whose Dice is below 0.85; lesions are none."""
    case = make_case(seed, preset=preset)
    result = run_stages(segmenter.stages(case.image, keep=True))
    maps = result.probabilities
    assert maps is not None
    image, labels = case.image.reoriented(), result.labels.reoriented()
    truth = case.truth.reoriented().array
    for name in segmenter.taxonomy.organs:
        id = segmenter.taxonomy[name].id
        own = truth == id
        if name in segmenter.model.classes and own.any() and dsc(labels.array == id, own) < BELOW:
            yield Organ(name, id, image, labels, own, maps.probability(name).reoriented())
    maps.close()


def clicked(organ: Organ, *, by: str) -> tuple[list[float], list[float]]:
    """Dice before the first click and after each, and the seconds of each click."""
    labels, seconds = organ.labels, []
    scores = [dsc(labels.array == organ.id, organ.truth)]
    for _ in range(CLICKS):
        click = largest_error(labels.array == organ.id, organ.truth, labels.spacing_mm)
        if click is not None:
            began = time.perf_counter()
            labels = correct_by_click(
                organ.image,
                labels,
                click,
                id=organ.id,
                probability=organ.probability if by == "scores" else None,
            )
            seconds.append(time.perf_counter() - began)
        scores.append(dsc(labels.array == organ.id, organ.truth))
    return scores, seconds


def largest_error(own: MaskArray, truth: MaskArray, spacing_mm: Spacing) -> Click | None:
    """A click in the middle of the largest piece that is missing or too much; None if none is."""
    largest: tuple[int, bool, MaskArray] | None = None
    for add, wrong in ((True, truth & ~own), (False, own & ~truth)):
        pieces, count = ndimage.label(wrong)
        if count:
            sizes = np.bincount(pieces.ravel())[1:]
            if largest is None or sizes.max() > largest[0]:
                largest = int(sizes.max()), add, pieces == 1 + sizes.argmax()
    if largest is None:
        return None
    _, add, piece = largest
    inside = ndimage.distance_transform_edt(np.pad(piece, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    middles = np.argwhere(inside > inside.max() - 1e-6)
    center = np.argwhere(piece).mean(axis=0)
    away = (((middles - center) * spacing_mm) ** 2).sum(axis=1)
    z, y, x = (int(at) for at in middles[away.argmin()])
    return Click((z, y, x), add=add)


def summary(results: list[tuple[list[float], list[float]]]) -> dict[str, Any]:
    """The mean Dice, how many organs each click made worse, and the seconds."""
    scores = np.array([dices for dices, _ in results])
    seconds = [each for _, all_ in results for each in all_]
    worse = scores[:, 1:] < scores[:, :-1] - 1e-9
    return {
        "organs": len(scores),
        "dice": [round(float(mean), 4) for mean in scores.mean(axis=0)],
        "worse": [int(count) for count in worse.sum(axis=0)],
        "worse_in_the_end": int((scores[:, -1] < scores[:, 0] - 1e-9).sum()),
        "seconds": {"mean": round(float(np.mean(seconds)), 3), "most": round(max(seconds), 3)},
    }


if __name__ == "__main__":
    raise SystemExit(main())
