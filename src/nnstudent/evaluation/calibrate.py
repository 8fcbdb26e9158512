"""Calibrating the expected Dice of a bundle on scans whose truth is known."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nnstudent
from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.write import check_replaceable, write_quality
from nnstudent.cases import for_each_case
from nnstudent.cohort.cohort import Case, Cohort, read_cohort
from nnstudent.errors import Failure, InputError
from nnstudent.evaluation.metrics import without_ignored
from nnstudent.evaluation.pairs import label_maps
from nnstudent.inference.files.find import find_cases
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.atomic import replacing_folder
from nnstudent.io.lock import writing
from nnstudent.io.nifti import read_labels
from nnstudent.io.scan import read_scan
from nnstudent.progress import Progress, silent
from nnstudent.quality.features import CaseFeatures
from nnstudent.quality.fit import LEAST_SCANS, KnownCase, calibrate, recalibrate
from nnstudent.quality.judged import Judged, judged
from nnstudent.quality.model import QualityModel
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume

ANEW = 60  # scans from which a calibration of their own beats one that is adapted
_WHOLE_ML = 10.0  # what is smaller and has no least volume of its own is a fragment


def true_dice(
    labels: Volume,
    truth: Volume,
    *,
    organs: Iterable[str],
    taxonomy: Taxonomy,
    whole_only: bool = False,
) -> dict[str, float]:
    """Dice of each organ that was found or is there.

    Args:
        labels: The segmentation.
        truth: The true labels, on the same grid.
        organs: The classes that somebody looked for in the truth.
        taxonomy: The label table of both.
        whole_only: Whether organs that the image cuts, or of which the truth holds but a fragment,
            are left out.

    Raises:
        GeometryError: The label maps are on different grids.
    """
    labels.grid.require(
        truth.grid,
        what="the true label map",
        of="the segmentation",
        advice="give the truth of the same scan, on its grid",
    )
    both, found, there = np.zeros((3, 256))
    for one, other in zip(without_ignored(labels.array, truth.array), truth.array, strict=True):
        found += np.bincount(one.ravel(), minlength=256)
        there += np.bincount(other.ravel(), minlength=256)
        both += np.bincount(one[one == other], minlength=256)
    cut = _at_faces(truth) if whole_only else set()
    dice = {}
    for name in organs:
        id = taxonomy[name].id
        if not found[id] and not there[id]:
            continue
        if whole_only and there[id]:
            least = taxonomy[name].minimum_ml or _WHOLE_ML
            if id in cut or there[id] * truth.grid.voxel_ml < least:
                continue
        dice[name] = round(float(2 * both[id] / (found[id] + there[id])), 4)
    return dice


def _at_faces(truth: Volume) -> set[int]:
    """Ids on a face of the image."""
    faces = (truth.array.take(end, axis=axis) for axis in range(3) for end in (0, -1))
    return {int(id) for face in faces for id in np.unique(face)}


@dataclass(frozen=True)
class TrueScan:
    """A scan whose truth is known.

    Attributes:
        id: Name of the case.
        image: The image file, or the folder of its series.
        label: The true label map.
        organs: The classes that somebody looked for in it.
    """

    id: str
    image: Path
    label: Path
    organs: tuple[str, ...]


@dataclass(frozen=True)
class Calibrated:
    """The outcome of a calibration.

    Attributes:
        bundle: The bundle that has it.
        quality: The calibration.
        scans: How many scans it rests on.
        failures: Scans that could not be used.
        organs: What the calibration says of each organ of these scans, and the truth.
    """

    bundle: Path
    quality: QualityModel
    scans: int
    failures: tuple[Failure, ...]
    organs: tuple[Judged, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return how the expected Dice fared, as plain data."""
        organs = [asdict(item) for item in self.organs]
        return {"scans": self.scans, "level": self.quality.level, "organs": organs}


def held_out(cohort: Cohort) -> tuple[Case, ...]:
    """Return the cohort's test cases in which somebody looked for a class."""
    return tuple(case for case in cohort.test() if case.annotated)


def scans_of_cohort(cohort: Cohort, *, classes: Sequence[str]) -> tuple[TrueScan, ...]:
    """The labeled scans of a cohort: its test cases, or all if none of these is labeled.

    Args:
        cohort: The cohort; the model must not have learned from the scans that are taken.
        classes: The model's classes.
    """
    chosen = held_out(cohort) or tuple(cohort)
    return tuple(
        TrueScan(case.id, case.image, case.label, _organs(case.annotated, classes, cohort.taxonomy))
        for case in chosen
        if case.label is not None and case.annotated & set(classes)
    )


def scans_of_folders(
    images: Path, corrected: Path, *, taxonomy: Taxonomy, classes: Sequence[str]
) -> tuple[TrueScan, ...]:
    """Scans and the corrected label maps of the same names, in which all classes count.

    Args:
        images: A folder of scans, as ``segment`` takes it.
        corrected: A folder of label maps.
        taxonomy: The label table.
        classes: The model's classes.

    Raises:
        InputError: A folder is missing or empty, or no names match.
    """
    maps = label_maps(corrected, what="corrected label maps")
    found = {case.id: case.source for case in find_cases(images, Path("labels"))}
    both = [id for id in found if id in maps]
    if not both:
        raise InputError(
            f"{corrected}: none of {', '.join(list(maps)[:3])} has the name of a scan in {images} "
            f"({', '.join(list(found)[:3])}); expected label maps named after their scans"
        )
    organs = _organs(classes, classes, taxonomy)
    return tuple(TrueScan(id, found[id], maps[id], organs) for id in both)


def check_cohort(folder: Path) -> Cohort:
    """Read a cohort, and refuse it if it has too few labeled scans to calibrate on.

    Raises:
        InputError: It is no cohort, or has too few.
    """
    cohort = read_cohort(folder)
    scans = scans_of_cohort(cohort, classes=cohort.taxonomy.names)
    if len(scans) < LEAST_SCANS:
        what = "labeled test cases" if held_out(cohort) else "labeled cases"
        raise InputError(
            f"{folder}: {len(scans)} {what}; expected at least {LEAST_SCANS} to calibrate the "
            "expected Dice"
        )
    return cohort


def calibrate_on_cohort(bundle: Path, folder: Path, *, progress: Progress = silent) -> Calibrated:
    """Calibrate the expected Dice of a bundle on the labeled scans of a cohort.

    Args:
        bundle: The bundle, which gets the calibration.
        folder: The cohort; its test cases are taken, or all if none of these is labeled. The
            model must not have learned from them.
        progress: Called after each scan.

    Raises:
        InputError: The cohort or the bundle cannot be used, or there are too few scans.
        OutputError: The bundle cannot be written.
    """
    scans = scans_of_cohort(check_cohort(folder), classes=open_model(bundle).classes)
    truth = f"labels of cohort {folder.resolve().name}"
    return calibrate_bundle(bundle, scans, bundle, truth=truth, progress=progress)


def calibrate_bundle(
    model: Path | None,
    scans: Sequence[TrueScan],
    out: Path,
    *,
    truth: str,
    before: QualityModel | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> Calibrated:
    """Calibrate the expected Dice of a bundle on scans whose truth is known.

    With :data:`ANEW` scans, or if there is no calibration to begin with, it is made anew; with
    fewer, that of the bundle is adapted to them.

    Args:
        model: The bundle; None for the bundled student.
        scans: Scans that the model did not learn from.
        out: The bundle with the calibration: the same folder, or a new one that gets a copy.
        truth: Where the truth comes from, for the card.
        before: For a bundle without a calibration, that of the model that it was trained from.
        threads: Processor threads; None for all.
        progress: Called after each scan.

    Raises:
        InputError: The model is no bundle, or there are too few scans.
        OutputError: ``out`` cannot be written.
    """
    opened = open_model(model)
    if opened.kind != "bundle":
        raise InputError(
            f"{opened.path}: is no bundle, and cannot hold a calibration; "
            "export it first: nnstudent export"
        )
    if out.resolve() != opened.path.resolve():
        check_replaceable(out)
    segmenter = Segmenter(opened, precision="auto", windows="guided", threads=threads)
    measured = for_each_case(
        list(scans),
        lambda scan: measure_scan(scan, segmenter),
        files=lambda scan: (scan.image, scan.label),
        what="scans",
        progress=progress,
    )
    known = [case for _, case in measured.results]
    begin = opened.quality or before
    quality = _calibration(begin, known, rests_on=_rests_on(known, truth, segmenter))
    with writing(out, beside=True):
        if out.resolve() == opened.path.resolve():
            write_quality(out, quality)
        else:
            with replacing_folder(out) as temporary:
                shutil.copytree(opened.path, temporary, dirs_exist_ok=True)
                write_quality(temporary, quality)
    organs = judged(quality, {scan.id: case for scan, case in measured.results})
    return Calibrated(out, quality, len(known), measured.failures, tuple(organs))


def measure_scan(scan: TrueScan, segmenter: Segmenter) -> KnownCase:
    """Segment a scan, and compare it with its truth.

    Raises:
        InputError: An image cannot be used.
        GeometryError: The truth is on another grid.
    """
    image, _ = read_scan(scan.image)
    result = segmenter(image)
    dice = true_dice(
        result.labels, read_labels(scan.label), organs=scan.organs, taxonomy=segmenter.taxonomy
    )
    return KnownCase(result.features or CaseFeatures({}), dice)


def _calibration(
    begin: QualityModel | None, known: Sequence[KnownCase], *, rests_on: Mapping[str, Any]
) -> QualityModel:
    if begin is None or len(known) >= ANEW:
        return calibrate(known, rests_on=rests_on)
    before = {key: value for key, value in begin.rests_on.items() if key != "adapted_to"}
    return recalibrate(begin, known, rests_on={**before, "adapted_to": dict(rests_on)})


def _rests_on(known: Sequence[KnownCase], truth: str, segmenter: Segmenter) -> dict[str, Any]:
    return {
        "scans": len(known),
        "truth": truth,
        "precision": segmenter.engine_of(0, 0).precision,
        "made_by": f"nnstudent {nnstudent.__version__}",
    }


def _organs(
    annotated: Iterable[str], classes: Sequence[str], taxonomy: Taxonomy
) -> tuple[str, ...]:
    """The organs among some classes: lesions have no usual size, place or shape."""
    wanted = set(annotated) & set(classes)
    return tuple(name for name in taxonomy.organs if name in wanted)
