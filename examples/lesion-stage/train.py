"""Train the lesion stage and put it behind a bundle: python examples/lesion-stage/train.py WORK.

It takes about an hour of one core with AMX. It uses phantoms, of which everything is known, and
six public CT in NNSTUDENT_DATA with the organs that other models found. Their pictures show no
lesion in the liver, the kidneys or the spleen, the organs that the stage looks at; so what is
not painted there is known to be healthy. A second call continues where the first ended. Needs
the extras train and dicom.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PHANTOMS, SEED = 48, 5101
# Scan: the image's name in its folder, and how often it is listed, by how much of the hosts it has.
REAL = {
    "acrin_flt_001": ("ct.nii.gz", 14),
    "cmb_crc_01068": ("ct.nii.gz", 10),
    "cptac_C3L-00189": ("ct.nii.gz", 14),
    "lidc_0314": ("ct.nii.gz", 14),
    "ts_dicom20": ("series", 6),
    "ts_example": ("ct.nii.gz", 10),
}
CLASSES = "liver,right_kidney,left_kidney,spleen,tumor"
# Finer than that of preset.toml: small lesions fill more voxels, and more of them are found.
GRID = "3,1.875,1.875"


def nnstudent(*words: object) -> None:
    print("+ nnstudent", *words, flush=True)
    code = subprocess.run([sys.executable, "-m", "nnstudent", *map(str, words)]).returncode
    if code not in (0, 1):  # 1: some case was left out, and named
        sys.exit(code)


def write_list(path: Path, phantoms: Path, data: Path) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "image", "label", "annotated", "role"])
        for image in sorted((phantoms / "images").glob("*.nii.gz")):
            name = image.name.removesuffix(".nii.gz")
            rows.writerow([name, image, phantoms / "truth" / image.name, "all", "train"])
        for scan, (image_name, times) in REAL.items():
            files = data / scan / image_name, data / scan / "label.nii.gz"
            for copy in range(times):
                rows.writerow([f"{scan}.{copy}", *files, "all", "train"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, metavar="WORK", help="folder of all that is made")
    parser.add_argument(
        "--start", default="bundled", metavar="MODEL", help="model to begin from (default: bundled)"
    )
    parser.add_argument(
        "--preset", type=Path, default=HERE / "preset.toml", help="default: preset.toml beside this"
    )
    parser.add_argument(
        "--behind", default="bundled", metavar="BUNDLE", help="whose organs it is put behind"
    )
    args = parser.parse_args()
    work, data = args.work.resolve(), Path(os.environ["NNSTUDENT_DATA"]).resolve()
    phantoms = work / "phantoms"
    if not (phantoms / "cohort.json").is_file():
        kinds = ["--tumor", 0, "--partial", 0, "--unlabeled", 0, "--test", 0, "--seed", SEED]
        counts = ["--cases", PHANTOMS, "--full", PHANTOMS]
        nnstudent("phantom", phantoms, "--preset", "medium", *counts, *kinds)
    write_list(work / "cases.csv", phantoms, data)
    nnstudent("index", work / "cases.csv", "-o", work / "cohort")
    preset = ["--preset", args.preset, "--only", CLASSES, "--start", args.start]
    nnstudent("study", work / "cohort", "-o", work / "lesions", *preset)
    card = work / "card.json"
    card.write_text(json.dumps(facts()))
    behind = ["--behind", args.behind, "--hosts", HERE / "hosts.json", "--lesion-grid", GRID]
    nnstudent(
        "export", work / "lesions", "-o", work / "bundle", *behind, "--no-torch", "--card", card
    )


def facts() -> dict[str, str]:
    """What the model card says of the lesion stage."""
    return {
        "lesion_stage": "a network of its own looks for lesions in the liver, and nowhere else; it "
        "learned on a grid of 4×2.5×2.5 mm and runs on one of 3×1.875×1.875 mm, where small "
        "lesions fill more voxels",
        "lesion_training": f"{PHANTOMS} synthetic patients (seed {SEED}) and {len(REAL)} public CT "
        f"({', '.join(REAL)}) into which lesions were painted; no real tumor was annotated",
        "lesions_again": "python examples/lesion-stage/train.py WORK",
    }


if __name__ == "__main__":
    main()
