"""Measures of all label maps of a folder, each beside those of the others, as one table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nnstudent.cases import for_each_case
from nnstudent.errors import Failure, InputError
from nnstudent.evaluation.declared import declared_table
from nnstudent.evaluation.pairs import label_maps, passed_over
from nnstudent.io.finder import case_names, list_folder
from nnstudent.io.nifti import read_image, read_labels, stem
from nnstudent.labels.measure import PERCENTILES, Measures, measure
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy, flare23

Layout = Literal["long", "wide"]

# The first columns are those of `segment --statistics`.
COLUMNS = (
    "case", "organ", "volume_ml", "mean_hu", "sd_hu", "touches_border", "median_hu",
    *(f"p{percent}_hu" for percent in PERCENTILES), "min_hu", "max_hu", "voxels", "pieces",
    "surface_cm2", "long_axis_mm", "short_axis_mm", "size_r_mm", "size_a_mm", "size_s_mm",
    "center_r_mm", "center_a_mm", "center_s_mm", "volume_percentile", "outlier",
)  # fmt: skip
OUTLIER_DEVIATIONS = 3.5  # Iglewicz and Hoaglin's limit for the modified z-score
FEWEST_CASES = 8  # with fewer, no case is called an outlier


@dataclass(frozen=True)
class MeasuredCase:
    """One label map and what was measured of it.

    Attributes:
        id: Name of the case.
        classes: The measures of each class.
        warnings: What had to be guessed when the files were read.
    """

    id: str
    classes: tuple[Measures, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statistics:
    """The measures of all cases.

    Attributes:
        cases: The cases that were measured.
        failures: The cases that could not be.
        notices: What was passed over, one line each.
    """

    cases: tuple[MeasuredCase, ...]
    failures: tuple[Failure, ...] = ()
    notices: tuple[str, ...] = ()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each case and class, with the columns :data:`COLUMNS` as keys.

        What is unknown is None. ``volume_percentile`` is the share of the other cases with this
        class whose volume is smaller, in percent, ties counted half. ``outlier`` says whether the
        modified z-score of the logarithm of the volume is over 3.5 (0.6745 times the distance from
        the median, divided by the median distance; B. Iglewicz and D. Hoaglin, 1993); it is None
        with fewer than eight cases that have the class.
        """
        by_class: dict[str, list[float]] = {}
        for case in self.cases:
            for item in case.classes:
                if item.voxels:
                    by_class.setdefault(item.name, []).append(item.volume_ml)
        for case in self.cases:
            for item in case.classes:
                yield _row(case.id, item, volumes=by_class.get(item.name, ()))

    def to_csv(self, layout: Layout = "long") -> str:
        """Return the table as CSV.

        Args:
            layout: ``long`` for a row for each case and class; ``wide`` for a row for each case,
                with columns such as ``liver.volume_ml``.
        """
        text = io.StringIO()
        rows = list(self.rows())
        if layout == "wide":
            rows = _widened(rows)
        columns = list(rows[0]) if rows else list(COLUMNS)
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
        return text.getvalue()


@dataclass(frozen=True)
class _Files:
    id: str
    labels: Path
    image: Path | None


def measure_files(
    labels: Path,
    images: Path | None = None,
    *,
    taxonomy: Taxonomy | None = None,
    classes: Iterable[str] | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> Statistics:
    """Measure label maps that exist, whoever made them.

    Args:
        labels: A label map, or a folder of them.
        images: The images, for the densities: a file, or a folder with an image for each label
            map, under the same name with or without ``_0000``. None for no densities.
        taxonomy: The label table; None for that of a dataset.json beside the label maps, and
            otherwise FLARE23's.
        classes: Names of the classes to measure; None for all.
        threads: Cases measured at a time.
        progress: Called before the first and after each case.

    Raises:
        InputError: A path is missing, there is no label map, a class is not in the table, or no
            label map has an image.
    """
    if taxonomy is None:
        folder = labels if labels.is_dir() else labels.parent
        taxonomy = declared_table(folder) or flare23()
    wanted = taxonomy.names if classes is None else taxonomy.sorted(classes)
    found = label_maps(labels, what="label maps")
    notices = list(passed_over(labels))
    pictures = {} if images is None else _images(images, found)
    cases = [_Files(id, path, pictures.get(id)) for id, path in found.items()]
    failures: tuple[Failure, ...] = ()
    if images is not None:
        missing = [case for case in cases if case.image is None]
        failures = tuple(
            Failure(
                case.id, f"{images}: has no image of this name; add it, or measure without images"
            )
            for case in missing
        )
        cases = [case for case in cases if case.image is not None]

    def work(case: _Files) -> MeasuredCase:
        return _measured(case, taxonomy, wanted)

    outcomes = for_each_case(
        cases,
        work,
        files=lambda case: (case.image, case.labels),
        what="cases",
        threads=threads,
        progress=progress,
    )
    done = tuple(result for _, result in outcomes.results)
    return Statistics(done, (*failures, *outcomes.failures), tuple(notices))


def _images(images: Path, labels: dict[str, Path]) -> dict[str, Path]:
    if images.is_file():
        if len(labels) > 1:
            raise InputError(
                f"{images}: one image for {len(labels)} label maps; give the folder of the images"
            )
        return dict.fromkeys(labels, images)
    if not images.is_dir():
        raise InputError(f"{images}: no such file or folder; expected the images of the label maps")
    files = list_folder(images).volumes
    named = {stem(path): path for path in files} | {
        name: path for path, name in case_names(files).items()
    }
    found = {id: named[id] for id in labels if id in named}
    if not found:
        some = ", ".join(list(labels)[:3])
        raise InputError(
            f"{images}: no image is named after a label map ({some}); expected CASE.nii.gz"
        )
    return found


def _measured(case: _Files, taxonomy: Taxonomy, classes: Sequence[str]) -> MeasuredCase:
    labels = read_labels(case.labels)
    foreign = sorted(set(np.unique(labels.array).tolist()) - {0, *taxonomy.ids})
    if foreign:
        raise InputError(
            f"{case.labels}: holds {', '.join(map(str, foreign[:5]))}, which label table "
            f"{taxonomy.name} does not have; give the table with --taxonomy"
        )
    image = None if case.image is None else read_image(case.image)
    warnings = (
        labels.warnings
        if image is None
        else tuple(dict.fromkeys((*image.warnings, *labels.warnings)))
    )
    rows = measure(labels, taxonomy=taxonomy, image=image, classes=classes)
    return MeasuredCase(case.id, rows, warnings)


def _row(case: str, item: Measures, *, volumes: Sequence[float]) -> dict[str, Any]:
    density = item.density
    size = item.size_mm or (None, None, None)
    center = item.center_mm or (None, None, None)
    values = (None,) * len(PERCENTILES) if density is None else density.percentiles
    row = (
        case, item.name, item.volume_ml, density and density.mean, density and density.sd,
        item.touches_border, density and density.median, *values, density and density.lowest,
        density and density.highest, item.voxels, item.pieces, item.surface_cm2,
        item.long_axis_mm, item.short_axis_mm, *size, *center,
        _percentile(item, volumes), _is_outlier(item, volumes),
    )  # fmt: skip
    return dict(zip(COLUMNS, row, strict=True))


def _percentile(item: Measures, volumes: Sequence[float]) -> float | None:
    if not item.voxels or len(volumes) < 2:
        return None
    smaller = sum(volume < item.volume_ml for volume in volumes)
    equal = sum(volume == item.volume_ml for volume in volumes) - 1  # itself
    return 100.0 * (smaller + equal / 2) / (len(volumes) - 1)


def _is_outlier(item: Measures, volumes: Sequence[float]) -> bool | None:
    if not item.voxels or len(volumes) < FEWEST_CASES:
        return None
    logarithms = np.log(volumes)
    median = float(np.median(logarithms))
    distance = float(np.median(np.abs(logarithms - median)))
    if distance == 0.0:
        return math.log(item.volume_ml) != median
    return 0.6745 * abs(math.log(item.volume_ml) - median) / distance > OUTLIER_DEVIATIONS


def _widened(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    wide: dict[str, dict[str, Any]] = {}
    for row in rows:
        case = wide.setdefault(row["case"], {"case": row["case"]})
        for key, value in row.items():
            if key not in ("case", "organ"):
                case[f"{row['organ']}.{key}"] = value
    return list(wide.values())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
