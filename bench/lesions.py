"""How many lesions a model finds, and how many false ones.

  python -m bench.lesions --model BUNDLE [--hosts liver] [--rounds 2] [--phantoms 6 --seed 3102]
    [--pictures FOLDER]

Lesions of 10 to 60 mm that differ by 20 HU or more from their host are painted into livers and
kidneys of public CT that the model has not learned from (NNSTUDENT_DATA). The result is the share
found, the DSC of those found, and the components of 0.5 ml and more that are found in the same
scans without painted lesions. Some of these patients have lesions of their own, which nobody
annotated: look at the pictures. The lesions are the same for every model and processor.

On phantoms the truth is exact; a lesion that an eye would not see counts neither as missed nor as
found.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from nnstudent.choices import WINDOWS
from nnstudent.evaluation.lesions import detect
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image, read_labels
from nnstudent.phantom import make_case
from nnstudent.training.augment.lesions import LEAST_HU, ROSE, Painted, paint
from nnstudent.training.augment.physiology import LESIONS
from nnstudent.types import LabelArray, MaskArray
from nnstudent.volume import Volume

UNSEEN = ("crlm_1004", "crlm_1006", "nsclc_r01_001", "acrin_flt_013", "tcga_bc_a10x")
HOSTS = ("liver", "right_kidney", "left_kidney")
SIZE_MM = (10.0, 60.0)
LEAST_CONTRAST_HU = 20.0
LARGE_MM = 20.0
FALSE_ML = 0.5
VISIBLE_ML = 5.0


@dataclass(frozen=True)
class Row:
    """One painted lesion."""

    scan: str
    host: str
    diameter_mm: float
    contrast_hu: float
    found: bool
    dsc: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="default: the bundled student")
    parser.add_argument("--rounds", type=int, default=2, help="how often each scan is painted anew")
    parser.add_argument("--scans", nargs="*", default=list(UNSEEN))
    parser.add_argument("--hosts", nargs="+", choices=HOSTS, default=list(HOSTS))
    parser.add_argument("--windows", choices=WINDOWS, default="guided", help="default: as segment")
    parser.add_argument("--phantoms", type=int, default=0)
    parser.add_argument("--seed", type=int, default=3102)
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each scan")
    parser.add_argument("--report", type=Path, help="write all figures as JSON")
    args = parser.parse_args()
    segmenter = Segmenter(args.model, precision="auto", windows=args.windows)
    student = Segmenter(windows="dense")  # in fp32: on every processor the same outlines
    tumor = segmenter.taxonomy["tumor"].id
    rows: list[Row] = []
    false: dict[str, list[float]] = {}
    for name in args.scans:
        folder = Path(os.environ["NNSTUDENT_DATA"]) / name
        image = read_image(folder / "ct.nii.gz").reoriented()
        false[name] = as_it_is(segmenter, name, image, tumor, args.pictures)
        organs = outlines(student, folder, image)
        for seed in range(args.rounds):
            rows += painted(
                segmenter,
                name,
                image,
                organs,
                tumor,
                hosts=args.hosts,
                seed=seed,
                pictures=args.pictures,
            )
        print(summary(rows, false), flush=True)
    phantoms = [
        phantom(segmenter, seed, tumor) for seed in range(args.seed, args.seed + args.phantoms)
    ]
    for case in phantoms:
        print(case, flush=True)
    if args.report is not None:
        table = {"painted": [vars(row) for row in rows], "false_ml": false, "phantoms": phantoms}
        args.report.write_text(json.dumps(table, indent=1))


def as_it_is(
    segmenter: Segmenter, name: str, image: Volume, tumor: int, pictures: Path | None
) -> list[float]:
    """Volumes of the lesions found in a scan without painted ones, in ml."""
    found = segmenter(image).labels.array == tumor
    picture(pictures, f"{name}_as_it_is", image, found, None)
    return [ml for ml in volumes(found, image.grid.voxel_ml) if ml >= FALSE_ML]


def outlines(student: Segmenter, folder: Path, image: Volume) -> Volume:
    """Organs to paint lesions into: another model's, if there are any, otherwise the student's.

    They never come from the model that is measured: two models would get different lesions.
    """
    known = folder / "label.nii.gz"
    if known.is_file():
        return read_labels(known).reoriented()
    labels = student(image).labels
    tumor = student.taxonomy["tumor"].id
    return Volume(np.where(labels.array == tumor, 0, labels.array), labels.grid)


def volumes(mask: MaskArray, voxel_ml: float) -> list[float]:
    """Volumes of a mask's connected components, in ml, largest first."""
    parts, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    return sorted(
        (float(count) * voxel_ml for count in np.bincount(parts.ravel())[1:]), reverse=True
    )


def painted(
    segmenter: Segmenter,
    name: str,
    image: Volume,
    organs: Volume,
    tumor: int,
    *,
    hosts: Collection[str] = HOSTS,
    seed: int,
    pictures: Path | None = None,
) -> list[Row]:
    """Paint up to four lesions into a scan, and check which of them are found."""
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    hu = image.array.astype(np.float32)
    ids = {host: segmenter.taxonomy[host].id for host in (*HOSTS, "aorta")}
    labels = organs.array.copy()
    among = [kind for kind in LESIONS if set(kind.hosts) & set(hosts)]
    kept = [{name: often for name, often in kind.hosts.items() if name in hosts} for kind in among]
    kinds = [
        replace(kind, hosts=own, size_mm=SIZE_MM, exophytic=0.0)
        for kind, own in zip(among, kept, strict=True)
    ]
    done: list[Painted] = []
    for _ in range(24):
        changed = hu.copy()
        drawn = paint(
            changed,
            labels,
            ids,
            rng,
            spacing_mm=image.spacing_mm,
            lesions=1,
            look_alikes=0,
            kinds=kinds,
        )
        if not drawn:
            continue
        one = drawn[-1]
        if abs(one.contrast_hu) < LEAST_CONTRAST_HU or equivalent_mm(one.mask, image) < SIZE_MM[0]:
            continue
        hu, done = changed, [*done, one]
        labels[ndimage.binary_dilation(one.mask, iterations=3)] = 0  # the next one lies elsewhere
        if len(done) == 4:
            break
    found = segmenter(Volume(hu.astype(np.int16), image.grid)).labels.array == tumor
    parts, _ = ndimage.label(found, structure=np.ones((3, 3, 3)))
    truth = np.zeros(found.shape, np.bool_)
    rows = []
    for one in done:
        truth |= one.mask
        touched = np.unique(parts[one.mask])
        own = np.isin(parts, touched[touched > 0])
        overlap = float((own & one.mask).sum())
        dsc = 2 * overlap / float(own.sum() + one.mask.sum())
        hit = detect(own, one.mask, voxel_ml=image.grid.voxel_ml).lesions[0].found
        rows.append(Row(name, one.host, one.diameter_mm, one.contrast_hu, hit, dsc))
    picture(pictures, f"{name}_painted_{seed}", Volume(hu, image.grid), found, truth)
    return rows


def equivalent_mm(mask: MaskArray, image: Volume) -> float:
    """Diameter of a ball of a mask's volume, in mm."""
    return float((6 * mask.sum() * image.grid.voxel_ml * 1000 / np.pi) ** (1 / 3))


def phantom(segmenter: Segmenter, seed: int, tumor: int) -> dict[str, object]:
    """Tumor DSC in a phantom with lesions, and the visible ones of 5 ml and more that are found."""
    case = make_case(seed, tumor=True)
    image, truth = case.image.reoriented(), case.truth.reoriented().array
    found = segmenter(image).labels.array == tumor
    parts, count = ndimage.label(truth == tumor)
    seen = np.zeros(truth.shape, np.bool_)
    large, hit = 0, 0
    for number in range(1, count + 1):
        own = parts == number
        if not visible(image, own, truth, tumor):
            continue
        seen |= own
        if own.sum() * image.grid.voxel_ml >= VISIBLE_ML:
            large += 1
            hit += detect(found, own, voxel_ml=image.grid.voxel_ml).lesions[0].found
    unseen = (truth == tumor) & ~seen
    found &= ~unseen
    total = float(found.sum() + seen.sum())
    dsc = 2 * float((found & seen).sum()) / total if total else None
    extra = [
        ml
        for ml in volumes(found & ~ndimage.binary_dilation(seen, iterations=2), image.grid.voxel_ml)
        if ml >= FALSE_ML
    ]
    return {"phantom": seed, "dsc": dsc, "visible_of_5_ml": large, "found": hit, "false_ml": extra}


def visible(image: Volume, mask: MaskArray, labels: LabelArray, tumor: int) -> bool:
    """Whether an eye sees a lesion in an organ, by the Rose criterion: contrast over noise."""
    around = (
        ndimage.binary_dilation(mask, iterations=4)
        & ~ndimage.binary_dilation(mask)
        & (labels != tumor)
    )
    if not around.any():
        return False
    host = np.bincount(labels[around]).argmax()
    around &= labels == host
    if host == 0:
        return False
    contrast = abs(float(np.median(image.array[mask])) - float(np.median(image.array[around])))
    pixels = (
        np.pi / 4 * equivalent_mm(mask, image) ** 2 / (image.spacing_mm[1] * image.spacing_mm[2])
    )
    noise = float(image.array[around].std()) / float(np.sqrt(pixels))
    return contrast >= max(LEAST_HU, ROSE * noise)


def summary(rows: Sequence[Row], false: Mapping[str, Sequence[float]]) -> str:
    """The figures so far, one line each."""
    found = [row for row in rows if row.found]
    dsc = float(np.mean([row.dsc for row in found])) if found else float("nan")
    lines = [f"painted: {len(found)} of {len(rows)} found, mean DSC of those found {dsc:.2f}"]
    large = [row.found for row in rows if row.diameter_mm >= LARGE_MM]
    lines.append(f"  of {LARGE_MM:.0f} mm and more: {sum(large)} of {len(large)}")
    for host in HOSTS:
        own = [row.found for row in rows if row.host == host]
        lines.append(f"  {host}: {sum(own)} of {len(own)}")
    pieces = [len(volumes_) for volumes_ in false.values()]
    lines.append(f"false pieces of {FALSE_ML} ml and more: {sum(pieces)} in {len(pieces)} scans")
    lines += [
        f"  {name}: {', '.join(f'{ml:.1f}' for ml in volumes_) or 'none'} ml"
        for name, volumes_ in false.items()
    ]
    return "\n".join(lines)


def picture(
    folder: Path | None, name: str, image: Volume, found: MaskArray, truth: MaskArray | None
) -> None:
    """Draw slices through the largest found (red) and painted (green) lesions, at 75 ± 150 HU."""
    if folder is None:
        return
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    parts, _ = ndimage.label(found | truth if truth is not None else found)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    tiles = []
    for number in np.argsort(sizes)[::-1][:6]:
        if not sizes[number]:
            break
        z = int(np.bincount(np.nonzero(parts == number)[0]).argmax())
        grey = np.clip((image.array[z] + 75.0) / 300 * 255, 0, 255).astype(np.uint8)
        plain = np.stack([grey] * 3, -1)
        drawn = plain.copy()
        for mask, colour in ((found, (255, 40, 40)), (truth, (40, 255, 40))):
            if mask is not None:
                drawn[mask[z] & ~ndimage.binary_erosion(mask[z])] = colour
        tiles.append(np.concatenate([plain, drawn], 1)[::-1])
    if tiles:
        Image.fromarray(np.concatenate(tiles)).save(folder / f"{name}.png")


if __name__ == "__main__":
    main()
