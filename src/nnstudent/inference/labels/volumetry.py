"""Volume, density and flags of each organ of a scan, as a table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnstudent.data_files import parse_csv, read_text, show
from nnstudent.errors import InputError
from nnstudent.inference.labels.organs import OrganFacts
from nnstudent.inference.segmentation import Segmentation
from nnstudent.io.atomic import write_text
from nnstudent.io.dicom.sr import Finding
from nnstudent.quality.model import VERDICTS
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume

COLUMNS = (
    "case",
    "organ",
    "volume_ml",
    "mean_hu",
    "sd_hu",
    "touches_border",
    "confidence",
    "expected_dice",
    "dice_low",
    "dice_high",
    "verdict",
)

_WHAT = "a table of nnstudent segment --statistics"
_NUMBERS = (*COLUMNS[2:5], *COLUMNS[6:10])
_START = ",".join(COLUMNS[:4]).encode()

Row = tuple[str, ...]


def write_statistics(path: Path, rows: Iterable[Row]) -> None:
    """Write a CSV with the columns of :data:`COLUMNS`.

    Args:
        path: The file.
        rows: The rows of one or several cases, see :func:`statistics_rows`.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(rows)
    write_text(path, text.getvalue())


def is_statistics(path: Path) -> bool:
    """Whether a file begins as :func:`write_statistics` begins one."""
    if not path.is_file():  # opening a pipe may never end
        return False
    with path.open("rb") as file:
        return file.read(len(_START)) == _START


def read_statistics(path: Path) -> list[Row]:
    """Read the rows that :func:`write_statistics` wrote.

    Args:
        path: The file.

    Raises:
        InputError: The file is missing, or not such a table.
    """
    columns, rows = parse_csv(read_text(path, what=_WHAT), where=str(path))
    if tuple(columns) != COLUMNS:
        raise InputError(
            f"{path}: its columns are {show(', '.join(columns))}; expected those of {_WHAT}: "
            f"{', '.join(COLUMNS)}"
        )
    return [_row(fields, place) for place, fields in rows if fields]


def _row(fields: Mapping[str, str], place: str) -> Row:
    if len(fields) != len(COLUMNS):
        raise InputError(f"{place}: has {len(fields)} fields; expected {len(COLUMNS)}")
    for name in ("case", "organ"):
        if not fields[name]:
            raise InputError(f"{place}: its {name} is empty; was the table changed?")
    for name in _NUMBERS:
        if fields[name] and not _is_number(fields[name]):
            raise InputError(
                f"{place}: its {name} is {show(fields[name])}; expected a number, or nothing"
            )
    if fields["verdict"] not in ("", *VERDICTS):
        raise InputError(
            f"{place}: its verdict is {show(fields['verdict'])}; expected {', '.join(VERDICTS)}"
        )
    return tuple(fields[name] for name in COLUMNS)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def statistics_rows(
    case: str, *, image: Volume, result: Segmentation, taxonomy: Taxonomy
) -> list[Row]:
    """Return a row per class, with the columns of :data:`COLUMNS`.

    The density and confidence of a class that was not found are empty, and so is what is expected
    of its Dice where the model has no calibration of that.

    Args:
        case: Name of the case.
        image: The image, in HU for CT.
        result: Its segmentation.
        taxonomy: The label table.
    """
    means, deviations = densities(image, result.labels)
    rows: list[Row] = []
    for name, facts in result.organs.items():
        id = taxonomy[name].id
        hu = ("", "") if np.isnan(means[id]) else (f"{means[id]:.1f}", f"{deviations[id]:.1f}")
        flag = "yes" if facts.touches_border else "no"
        confidence = "" if facts.confidence is None else f"{facts.confidence:.4f}"
        rows.append(
            (case, name, f"{facts.volume_ml:.3f}", *hu, flag, confidence, *_expected(facts))
        )
    return rows


def findings(image: Volume, result: Segmentation, taxonomy: Taxonomy) -> dict[str, Finding]:
    """Return the same of each class that was found, for a structured report.

    Args:
        image: The image, in HU for CT.
        result: Its segmentation.
        taxonomy: The label table.
    """
    means, deviations = densities(image, result.labels)
    found = {}
    for name, facts in result.organs.items():
        if not facts.volume_ml:
            continue
        id = taxonomy[name].id
        found[name] = Finding(
            facts.volume_ml,
            mean_hu=float(means[id]),
            sd_hu=float(deviations[id]),
            touches_border=facts.touches_border,
            dice=None if facts.quality is None else facts.quality.interval,
        )
    return found


def _expected(facts: OrganFacts) -> Row:
    quality = facts.quality
    if quality is None:
        return ("", "", "", "")
    numbers = (quality.expected_dice, quality.low, quality.high)
    return (*("" if value is None else f"{value:.3f}" for value in numbers), quality.verdict)


def densities(
    image: Volume, labels: Volume
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of the image over each class.

    Args:
        image: The image, in HU for CT.
        labels: Its label map, on the same grid.

    Returns:
        Means and standard deviations by id, (256,) each; NaN for classes without voxels and for 0.
    """
    sums = np.zeros((3, 256))
    # Plane by plane, to need no copy of eight bytes per voxel.
    for values, plane in zip(image.array, labels.array, strict=True):
        inside = plane > 0
        label, value = plane[inside], values[inside].astype(np.float64)
        for row, weights in enumerate((None, value, value**2)):
            sums[row] += np.bincount(label, weights, minlength=256)
    count, total, squares = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean, deviation
