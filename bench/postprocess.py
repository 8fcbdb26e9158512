"""The effect of each postprocessing rule on DSC and NSD, on phantoms and public CT.

  python -m bench.postprocess --phantoms 18 --seed 9001 [--model MODEL] [--each] [--noise 60]

The public CT are those in NNSTUDENT_DATA. Each scan is segmented once without rules; then each rule
alone, the defaults of `segment`, and all rules are applied to the labels. Phantoms are scored
completely, including organs that their field of view cuts, and absent classes that are found count
0. On CT, which other models labeled, only whole organs are scored. At the end come the smallest
organs that were found correctly, by which the limit of `small` is chosen.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from nnstudent.evaluation.evaluate import evaluate
from nnstudent.inference.labels.postprocess import DEFAULT, RULES, postprocess
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image, read_labels, write_labels
from nnstudent.phantom import make_case
from nnstudent.volume import Volume

SETS = {
    "none": (),
    **{rule: (rule,) for rule in RULES},
    f"{'+'.join(DEFAULT)} (default)": DEFAULT,
    "all": tuple(RULES),
}
REAL = ("acrin_flt_001", "cptac_C3L-00189", "ts_example", "crlm_1004", "crlm_1006")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phantoms", type=int, default=6)
    parser.add_argument(
        "--seed", type=int, default=9001, help="of the first phantom; the next one's is one more"
    )
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--model", type=Path)
    parser.add_argument(
        "--each",
        action="store_true",
        help="also print every class of every case that a set of rules changes",
    )
    parser.add_argument(
        "--noise",
        type=float,
        default=0.0,
        help="SD in HU of noise added to each image, for findings that are weaker",
    )
    args = parser.parse_args()
    segmenter = Segmenter(args.model, postprocess=())
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for seed in range(args.seed, args.seed + args.phantoms):
            case = make_case(seed, preset=args.preset)
            write(
                segmenter, noisy(case.image, args.noise), case.truth, work / "phantoms", str(seed)
            )
        data = Path(os.environ.get("NNSTUDENT_DATA", ""))
        for name in REAL if (data / REAL[0]).is_dir() else ():
            image = noisy(read_image(data / name / "ct.nii.gz"), args.noise)
            write(segmenter, image, read_labels(data / name / "label.nii.gz"), work / "ct", name)
        for kind in sorted(work.iterdir()):
            table(kind, segmenter, each=args.each)
            smallest(kind, segmenter)


def noisy(image: Volume, sd: float) -> Volume:
    added = np.random.default_rng(0).normal(0.0, sd, image.array.shape)
    return Volume((image.array + added).astype(np.int16), image.grid)


def smallest(kind: Path, segmenter: Segmenter) -> None:
    """Print the smallest whole organs that overlap the truth, beside the table's least volume."""
    rows = []
    for path in sorted((kind / "none").iterdir()):
        found, truth = read_labels(path), read_labels(kind / "truth" / path.name)
        faces = {
            int(id)
            for axis in range(3)
            for end in (0, -1)
            for id in np.unique(found.array.take(end, axis=axis))
        }
        for item in segmenter.taxonomy:
            mine, theirs = found.array == item.id, truth.array == item.id
            if item.kind == "organ" and item.id not in faces and mine.any():
                dice = 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum())
                ml, true_ml = mine.sum() * found.grid.voxel_ml, theirs.sum() * found.grid.voxel_ml
                rows.append(
                    (
                        ml / item.minimum_ml,
                        f"{path.name} {item.name}: {ml:.2f} ml of {true_ml:.2f}, DSC {dice:.2f}",
                        dice > 0,
                    )
                )
    print(
        f"\n{kind.name}: {len(rows)} whole organs found, "
        f"{sum(not right for *_, right in rows)} of them where there is none"
    )
    for share, told, _ in sorted(row for row in rows if row[2])[:5]:
        print(f"{share:.2f} of the least volume: {told}")


def write(segmenter: Segmenter, image: Volume, truth: Volume, out: Path, name: str) -> None:
    write_labels(out / "truth" / f"{name}.nii.gz", truth)
    labels = segmenter(image).labels
    for rules, chosen in SETS.items():
        write_labels(
            out / rules / f"{name}.nii.gz", postprocess(labels, segmenter.taxonomy, rules=chosen)
        )


def table(kind: Path, segmenter: Segmenter, *, each: bool) -> None:
    organs_only = kind.name == "ct"
    scores = {
        rules: evaluate(
            kind / rules,
            kind / "truth",
            taxonomy=segmenter.taxonomy,
            classes=segmenter.taxonomy.organs if organs_only else None,
            whole_organs=organs_only,
        )
        for rules in SETS
    }
    groups = ("organs",) if organs_only else ("organs", "tumor")
    print(
        f"\n{kind.name}: {len(scores['none'].cases)} cases\n\n| rules |"
        + "".join(f" {g} DSC | {g} NSD |" for g in groups)
    )
    print("|---|" + "---|---|" * len(groups))
    for rules, result in scores.items():
        means = result.means()
        print(
            f"| {rules} |"
            + "".join(f" {100 * means[g].dsc:.2f} | {100 * means[g].nsd:.2f} |" for g in groups)
        )
    if each:
        for rules in SETS:
            for before, after in zip(scores["none"].cases, scores[rules].cases, strict=True):
                for name, was in before.scores.items():
                    now = after.scores[name]
                    if abs(now.dsc - was.dsc) > 0.001 or abs(now.nsd - was.nsd) > 0.001:
                        print(
                            f"{rules}: {before.id} {name}: DSC {was.dsc:.3f} → {now.dsc:.3f}, "
                            f"NSD {was.nsd:.3f} → {now.nsd:.3f}"
                        )


if __name__ == "__main__":
    main()
