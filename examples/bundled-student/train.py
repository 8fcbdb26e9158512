"""Continue the training of the bundled student: python examples/bundled-student/train.py WORK.

It takes about an hour on two cores with AMX. It uses phantoms with their whole truth, and the
public CT in NNSTUDENT_DATA with the labels that other models made for them, through `phantom`,
`index`, `study`, `export` and `evaluate`. A second call continues where the first ended. One
scan is held out to score.

It begins from the student that comes with the package, from the one that --start FOLDER names,
or with --chance from random weights. With --all it also learns from the held-out scan, by
last.toml, for the last time that it is continued; the card keeps the score from before. To
continue with that scan held out after that, begin from the student of before.

With --unlabeled it also learns from three CT that nobody has labeled: the student that it begins
from labels them, and what that is unsure of counts for nothing. It then learns organs alone; a
lesion stage is put behind it (examples/lesion-stage). Needs the extras train and dicom.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnstudent.bundle.bundle import open_model
from nnstudent.io.nifti import read_image, read_labels, write_image, write_labels
from nnstudent.taxonomy import flare23

HERE = Path(__file__).resolve().parent
PHANTOMS, SEED = 96, 2033
# Scan: the image's name in its folder, and how often it is listed. Four of ten windows are of a
# real scan, most of whole abdomens.
REAL = {
    "ts_example": ("ct.nii.gz", 20),
    "ts_dicom20": ("series", 8),
    "cptac_C3L-00189": ("ct.nii.gz", 16),
    "lidc_0314": ("ct.nii.gz", 12),
    "cmb_crc_01068": ("ct.nii.gz", 8),
}
HELD_OUT, HELD_OUT_REPEAT = "acrin_flt_001", 20
UNLABELED = {"nsclc_r01_001": 8, "acrin_flt_013": 8, "tcga_bc_a10x": 8}
LEAST_SURE = 0.6  # a voxel with a lower probability is left out
TOO = "before it learned from that scan too"
NARROW = 4  # every so many-th case is cut, for many a scan shows less than a body's width
SHARES = (0.6, 1.0), (0.5, 0.8), (0.5, 0.8)  # what is left of (z, y, x)


def nnstudent(*words: object) -> None:
    command = [sys.executable, "-m", "nnstudent", *map(str, words)]
    print("+ nnstudent", *words, flush=True)
    code = subprocess.run(command).returncode
    if code not in (0, 1):  # 1: some case was left out, and named
        sys.exit(code)


def narrow(image: Path, label: Path, out: Path, seed: int) -> tuple[Path, Path]:
    """A part of a scan: 50 to 80 % of its width and depth, 60 to 100 % of its slices."""
    cut = out / "images" / f"{seed}.nii.gz", out / "labels" / f"{seed}.nii.gz"
    if not cut[1].is_file():
        rng = np.random.default_rng(seed)
        volume, labels = read_image(image).reoriented(), read_labels(label).reoriented()
        sizes = [
            round(size * rng.uniform(low, high))
            for size, (low, high) in zip(volume.array.shape, SHARES, strict=True)
        ]
        starts = [
            int(rng.integers(whole - size + 1))
            for whole, size in zip(volume.array.shape, sizes, strict=True)
        ]
        box = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
        write_image(cut[0], volume.cropped(box))
        write_labels(cut[1], labels.cropped(box))
    return cut


def write_list(
    path: Path,
    phantoms: Path,
    data: Path,
    real: Mapping[str, tuple[str, int]],
    unlabeled: Mapping[str, int],
) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "image", "label", "annotated", "role"])
        images = sorted((phantoms / "images").glob("*.nii.gz"))
        cases = [
            (image.name.removesuffix(".nii.gz"), image, phantoms / "truth" / image.name, "all")
            for image in images
        ]
        # Where only organs are learned, nothing is left to label in a scan that has them.
        known = "all" if unlabeled else "organs"
        for scan, (image, times) in real.items():
            cases += [
                (f"{scan}.{copy}", data / scan / image, data / scan / "label.nii.gz", known)
                for copy in range(times)
            ]
        for number, (name, image, label, annotated) in enumerate(cases):
            if number % NARROW == 0 and image.is_file():  # not a DICOM series
                image, label = narrow(image, label, path.with_name("narrow"), number)
            rows.writerow([name, image, label, annotated, "train"])
        for scan, times in unlabeled.items():
            for copy in range(times):
                rows.writerow([f"{scan}.{copy}", data / scan / "ct.nii.gz", "", "", "train"])
        if HELD_OUT not in real:
            rows.writerow(
                [
                    HELD_OUT,
                    data / HELD_OUT / "ct.nii.gz",
                    data / HELD_OUT / "label.nii.gz",
                    "organs",
                    "test",
                ]
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "work",
        type=Path,
        metavar="WORK",
        help="folder of all that is made; WORK/bundle is the student",
    )
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument(
        "--start",
        type=Path,
        metavar="FOLDER",
        help="the bundle to begin from (default: that of the package)",
    )
    begin.add_argument("--chance", action="store_true", help="begin from chance")
    parser.add_argument("--all", action="store_true", help=f"learn from {HELD_OUT} too")
    parser.add_argument(
        "--unlabeled",
        action="store_true",
        help=f"learn from {', '.join(UNLABELED)} too, labeled by the student that it begins from",
    )
    parser.add_argument(
        "--preset", type=Path, help="default: preset.toml beside this, or last.toml with --all"
    )
    parser.add_argument(
        "--phantoms",
        default="standard",
        help="preset of the synthetic patients (default: standard)",
    )
    args = parser.parse_args()
    if args.unlabeled and args.chance:
        parser.error("--unlabeled needs a student to label them; leave out --chance")
    work, last = args.work.resolve(), args.all
    start = [] if args.chance else ["--start", args.start or "bundled"]
    card_before = {} if args.chance else open_model(args.start).card
    if str(card_before.get("held_out_scan", "")).startswith(TOO) and not last:
        sys.exit(
            f"{args.start or 'the bundled student'} has learned from {HELD_OUT} too; --start one "
            "that has not, --chance, or --all"
        )
    real = REAL | ({HELD_OUT: ("ct.nii.gz", HELD_OUT_REPEAT)} if last else {})
    data = Path(os.environ["NNSTUDENT_DATA"]).resolve()
    work.mkdir(parents=True, exist_ok=True)
    phantoms = work / "phantoms"
    preset = args.preset or HERE / ("last.toml" if last else "preset.toml")
    if not (phantoms / "cohort.json").is_file():
        kinds = ["--tumor", 0, "--partial", 0, "--unlabeled", 0, "--test", 0]
        kinds += ["--preset", args.phantoms, "--seed", SEED]
        nnstudent("phantom", phantoms, "--cases", PHANTOMS, "--full", PHANTOMS, *kinds)
    unlabeled = UNLABELED if args.unlabeled else {}
    write_list(work / "cases.csv", phantoms, data, real, unlabeled)
    nnstudent("index", work / "cases.csv", "-o", work / "cohort")
    learned = label_the_rest(work, start[-1]) if unlabeled else work / "cohort"
    nnstudent("study", learned, "-o", work / "student", "--preset", preset, *start)
    card = work / "card.json"
    before = {"held_out_scan": _of_before(card_before)} if last else {}
    card.write_text(json.dumps(facts(real, unlabeled) | before))
    bundle = [
        "-o",
        work / "bundle",
        "--no-torch",
        "--card",
        card,
    ]  # int8 would make the base installation larger than 450 MB
    nnstudent("export", work / "student", *bundle)
    if last:
        return
    scan = data / HELD_OUT
    nnstudent(
        "segment",
        scan / "ct.nii.gz",
        "-o",
        work / f"{HELD_OUT}.nii.gz",
        "--model",
        work / "bundle",
        "--preview",
    )
    scores = ["--whole-organs", "--report", work / "scores.json"]
    nnstudent("evaluate", work / f"{HELD_OUT}.nii.gz", scan / "label.nii.gz", *scores)
    mean = json.loads((work / "scores.json").read_text())["mean"]
    card.write_text(json.dumps(facts(real, unlabeled) | {"held_out_scan": told(mean)}))
    nnstudent("export", work / "student", *bundle)


def label_the_rest(work: Path, teacher: object) -> Path:
    """Label the CT without labels by a teacher, and keep what it is sure of."""
    nnstudent(
        "label", work / "cohort", "-o", work / "pseudo", "--teacher", teacher, "--probability"
    )
    organs = ",".join(flare23().organs)
    chosen = ["--classes", organs, "--min-agreement", 0, "--ignore-below", LEAST_SURE]
    nnstudent("select", work / "cohort", work / "pseudo", "-o", work / "fused", *chosen)
    return work / "fused"


def facts(real: Mapping[str, tuple[str, int]], unlabeled: Mapping[str, int]) -> dict[str, object]:
    """What the model card says of where the model comes from."""
    return {
        "what_it_is": "a demonstration that the path works, trained on two CPU cores; "
        "expect it to miss and invent organs",
        "not_for": "diagnosis, treatment, or any figure that somebody relies on",
        "training_data": f"{PHANTOMS} synthetic patients (seed {SEED}) with their whole truth; "
        f"{len(real) + len(unlabeled)} public CT: {', '.join([*real, *unlabeled])}",
        "labels": "of the synthetic patients, exact; of the CT, made by other models "
        "(TotalSegmentator, a small network), not by experts"
        + (f"; of {', '.join(unlabeled)} by the student before" if unlabeled else ""),
        "tumors": "not learned: this network knows organs alone"
        if unlabeled
        else "seen in synthetic patients only; in the CT, for which nobody looked, "
        "taken to be absent",
        "again": "python examples/bundled-student/train.py WORK"
        + " --all" * (HELD_OUT in real)
        + " --unlabeled" * bool(unlabeled),
    }


def _of_before(card: Mapping[str, object]) -> str:
    """The score on the held-out scan of the last student that had not learned from it."""
    score = str(card.get("held_out_scan", "none"))
    return score if score.startswith(TOO) else f"{TOO}: {score}"


def told(mean: dict[str, dict[str, float]]) -> str:
    """DSC by class on the held-out scan, which is agreement with another model's labels there."""
    scored = {name: row["dsc"] for name, row in mean.items() if name not in ("organs", "tumor")}
    listed = ", ".join(f"{name.replace('_', ' ')} {dsc:.2f}" for name, dsc in scored.items())
    return (
        f"{HELD_OUT}, DSC against another model's labels, organs wholly in view: "
        f"mean {mean['organs']['dsc']:.2f}; {listed}"
    )


if __name__ == "__main__":
    main()
