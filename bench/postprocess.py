"""What each rule of post-processing does to DSC and NSD, on phantoms and on the public CT in NNSTUDENT_DATA.

  python -m bench.postprocess --phantoms 18 --seed 9001 [--model MODEL] [--each]

Each scan is segmented once without rules; then each rule alone, what `segment` does by default, and all rules are applied to the labels.
Phantoms are scored whole, with what their field of view cuts, and absent classes that are found count 0. On CT, which other models
labeled, only whole organs are."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from nnstudent.cohort.phantom import make_case
from nnstudent.evaluation.evaluate import evaluate
from nnstudent.inference.postprocess import DEFAULT, RULES, postprocess
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image, read_labels, write_labels
from nnstudent.volume import Volume

SETS = {"none": (), **{rule: (rule,) for rule in RULES}, f"{'+'.join(DEFAULT)} (default)": DEFAULT, "all": tuple(RULES)}
REAL = ("acrin_flt_001", "cptac_C3L-00189", "ts_example")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phantoms", type=int, default=6)
    parser.add_argument("--seed", type=int, default=9001, help="of the first phantom; the next one's is one more")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--each", action="store_true", help="also print every class of every case that a set of rules changes")
    args = parser.parse_args()
    segmenter = Segmenter(args.model, postprocess=())
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for seed in range(args.seed, args.seed + args.phantoms):
            case = make_case(seed, preset=args.preset)
            write(segmenter, case.image, case.truth, work / "phantoms", str(seed))
        data = Path(os.environ.get("NNSTUDENT_DATA", ""))
        for name in REAL if (data / REAL[0]).is_dir() else ():
            write(segmenter, read_image(data / name / "ct.nii.gz"), read_labels(data / name / "label.nii.gz"), work / "ct", name)
        for kind in sorted(work.iterdir()):
            table(kind, segmenter, each=args.each)


def write(segmenter: Segmenter, image: Volume, truth: Volume, out: Path, name: str) -> None:
    write_labels(out / "truth" / f"{name}.nii.gz", truth)
    labels = segmenter(image).labels
    for rules, chosen in SETS.items():
        write_labels(out / rules / f"{name}.nii.gz", postprocess(labels, segmenter.taxonomy, rules=chosen))


def table(kind: Path, segmenter: Segmenter, *, each: bool) -> None:
    organs_only = kind.name == "ct"
    settings = {"classes": segmenter.taxonomy.organs, "whole_organs": True} if organs_only else {}
    scores = {rules: evaluate(kind / rules, kind / "truth", taxonomy=segmenter.taxonomy, **settings) for rules in SETS}
    groups = ("organs",) if organs_only else ("organs", "tumor")
    print(f"\n{kind.name}: {len(scores['none'].cases)} cases\n\n| rules |" + "".join(f" {g} DSC | {g} NSD |" for g in groups))
    print("|---|" + "---|---|" * len(groups))
    for rules, result in scores.items():
        means = result.means()
        print(f"| {rules} |" + "".join(f" {100 * means[g].dsc:.2f} | {100 * means[g].nsd:.2f} |" for g in groups))
    if each:
        for rules in SETS:
            for before, after in zip(scores["none"].cases, scores[rules].cases, strict=True):
                for name, was in before.scores.items():
                    now = after.scores[name]
                    if abs(now.dsc - was.dsc) > 0.001 or abs(now.nsd - was.nsd) > 0.001:
                        print(f"{rules}: {before.id} {name}: DSC {was.dsc:.3f} → {now.dsc:.3f}, NSD {was.nsd:.3f} → {now.nsd:.3f}")


if __name__ == "__main__":
    main()
