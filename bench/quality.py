"""Whether the expected Dice that `segment` reports is right, on phantoms and public CT.

  python -m bench.quality rows WORK [--unseen 300] [--calibration 150] [--minutes 60]
  python -m bench.quality table WORK [--json docs/results/quality.json]
  python -m bench.quality store WORK --model src/nnstudent/bundle/student

`rows` segments phantoms that the bundled student never saw, and the public CT in NNSTUDENT_DATA. It
appends a row of features and true Dice to WORK/rows.jsonl after each scan; called again, it goes on
where it ended. A part of the phantoms is shifted: noisy, in thick slices, cut, in another contrast
phase, without an organ, with streaks, or with the contrast of another modality.

`table` calibrates on the calibration rows and compares: coverage of the 90 % interval, rank
correlation, area under the ROC curve for Dice below 0.5; the same under each shift; and, on CT, the
order of the organs, where the scan in question is left out of the calibration.

`store` calibrates on all rows, adapts that to the public CT, and writes it into a bundle.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.quality_shifts import SHIFTS, shifted
from bench.quality_table import shipped, write_table
from nnstudent.bundle.write import write_quality
from nnstudent.evaluation.calibrate import true_dice
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image, read_labels
from nnstudent.phantom import make_case
from nnstudent.volume import Volume

FIRST_CALIBRATION, FIRST_UNSEEN, FIRST_SHIFTED = 810_000, 820_000, 830_000
PRESET = "tiny"
CT = ("ts_example", "acrin_flt_001", "cptac_C3L-00189", "crlm_1004", "crlm_1006")


@dataclass(frozen=True)
class Scan:
    """One scan of the bench.

    Attributes:
        set: ``calibration``, ``unseen``, ``ct`` or ``shift:NAME``.
        id: Seed of the phantom, or folder of the CT.
    """

    set: str
    id: str


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("rows", "table", "store"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--unseen", type=int, default=300)
    parser.add_argument("--calibration", type=int, default=150)
    parser.add_argument("--shifted", type=int, default=75)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    path = args.work / "rows.jsonl"
    if args.what == "table":
        write_table(read_rows(path), args.json)
        return
    if args.what == "store":
        write_quality(args.model, shipped(read_rows(path)))
        return
    args.work.mkdir(parents=True, exist_ok=True)
    done = {(row["set"], row["id"]) for row in read_rows(path)}
    segmenter = Segmenter(args.model, precision="auto", windows="guided", threads=1)
    end = time.monotonic() + 60 * args.minutes
    for scan in in_turn(args.unseen, args.calibration, args.shifted):
        if time.monotonic() > end:
            break
        if (scan.set, scan.id) not in done:
            row = measured(scan, segmenter)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def in_turn(unseen: int, calibration: int, shifts: int) -> Iterator[Scan]:
    """All scans, of each set in turn, so that what is done is balanced whenever it ends."""
    if os.environ.get("NNSTUDENT_DATA"):
        yield from (Scan("ct", name) for name in CT)
    names = tuple(SHIFTS)
    longest = max(unseen, calibration, shifts)
    begun = {"calibration": 0, "unseen": 0, "shift": 0}
    totals = {"calibration": calibration, "unseen": unseen, "shift": shifts}
    first = {
        "calibration": FIRST_CALIBRATION,
        "unseen": FIRST_UNSEEN,
        "shift": FIRST_SHIFTED,
    }
    for step in range(1, longest + 1):
        for kind, total in totals.items():
            while begun[kind] * longest < step * total:
                number = begun[kind]
                begun[kind] += 1
                name = f"shift:{names[number % len(names)]}" if kind == "shift" else kind
                yield Scan(name, str(first[kind] + number))


def measured(scan: Scan, segmenter: Segmenter) -> dict[str, Any]:
    """Segment a scan; returns its row."""
    image, truth = read(scan)
    result = segmenter(image)
    if result.features is None:
        raise ValueError("a segmentation without features")
    organs = [name for name in segmenter.model.classes if name in segmenter.taxonomy.organs]
    return {
        "set": scan.set,
        "id": scan.id,
        "features": result.features.to_dict(),
        "dice": true_dice(
            result.labels,
            truth,
            organs=organs,
            taxonomy=segmenter.taxonomy,
            whole_only=scan.set == "ct",
        ),
        "warnings": list(result.warnings),
        "seconds": round(result.seconds["total"], 2),
    }


def read(scan: Scan) -> tuple[Volume, Volume]:
    """The image and truth of a scan."""
    if scan.set == "ct":
        folder = Path(os.environ["NNSTUDENT_DATA"]) / scan.id
        return read_image(folder / "ct.nii.gz"), read_labels(folder / "label.nii.gz")
    case = make_case(int(scan.id), preset=PRESET)
    # Lesions lie in organs; the rows are of the organs.
    if scan.set.startswith("shift:"):
        return shifted(case.image, case.organs, scan.set.removeprefix("shift:"), seed=int(scan.id))
    return case.image, case.organs


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows so far."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


if __name__ == "__main__":
    main()
