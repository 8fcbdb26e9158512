"""Label maps of any maker, written as DICOM objects in the study of their series."""

from __future__ import annotations

from pathlib import Path

import nnstudent
from nnstudent.choices import DICOM_OBJECTS
from nnstudent.errors import InputError, require
from nnstudent.io.dicom.derived import Algorithm, LabeledSeries
from nnstudent.io.dicom.rtstruct import write_rtstruct
from nnstudent.io.dicom.seg import write_seg
from nnstudent.io.record import file_hash
from nnstudent.io.scan import is_series, read_scan
from nnstudent.io.unpacked import unpacked
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume

_LIBRARIES = {"seg": "highdicom", "rtstruct": "contourpy"}
_MAKER = "label map written by nnStudent"


def check_object(kind: str | None, images: Path | None) -> None:
    """Check before any work that DICOM objects can be written.

    Args:
        kind: One of :data:`~nnstudent.choices.DICOM_OBJECTS`, or None for none.
        images: The series of the only label map, or a folder with one named after each.

    Raises:
        InputError: It is none of them, or there is no series.
        MissingExtraError: A package that writes them is not installed.
    """
    if kind is None:
        return
    if kind not in DICOM_OBJECTS:
        raise InputError(f"DICOM object {kind!r}; expected one of {', '.join(DICOM_OBJECTS)}")
    if images is None:
        raise InputError(
            f"--dicom {kind} without --like; give the folder of the series that the label map "
            "belongs to"
        )
    require(_LIBRARIES[kind], extra="dicom", why=f"writing --dicom {kind}")


def object_path(root: Path, name: str, kind: str) -> Path:
    """Return where the DICOM object of a case goes.

    Args:
        root: The folder of the label map.
        name: The label map's name without its ending.
        kind: One of :data:`~nnstudent.choices.DICOM_OBJECTS`.
    """
    return root / f"{name}.{kind}.dcm"


def write_object(
    path: Path, labels: Volume, scan: Path, *, taxonomy: Taxonomy, kind: str, made_from: Path
) -> tuple[str, ...]:
    """Write a label map as a DICOM object in the study of its series.

    The object says that a person took part, because nothing is known of who made the label map.

    Args:
        path: The file to write.
        labels: The label map, on the grid of the series in any orientation.
        scan: The series: its folder, a file of many frames, or a ZIP archive.
        taxonomy: The label table.
        kind: One of :data:`~nnstudent.choices.DICOM_OBJECTS`.
        made_from: The file that the label map came from; its hash is the object's device serial
            number.

    Returns:
        What a reader should know, one line each.

    Raises:
        InputError: The scan is no DICOM series, the label map is empty, or the object cannot refer
            to the series.
        GeometryError: The label map is on another grid.
        OutputError: ``path`` cannot be written.
    """
    with unpacked(scan) as place:
        _, series = read_scan(place) if is_series(place) else (None, None)
        if series is None:
            raise InputError(
                f"{scan}: is no DICOM series, and --dicom {kind} refers to one; give the folder "
                "of the series"
            )
        grid = series.volume.grid
        if labels.grid.axcodes != grid.axcodes:
            labels = labels.reoriented(grid.axcodes)
        grid.require(
            labels.grid,
            what=str(made_from),
            of=f"the series {scan}",
            advice="give the series that it was made of",
        )
        labeled = LabeledSeries.of(
            labels,
            series,
            taxonomy=taxonomy,
            algorithm=Algorithm(_MAKER, nnstudent.__version__, file_hash(made_from), alone=False),
        )
        write = write_seg if kind == "seg" else write_rtstruct
        write(path, labeled)
        return labeled.origin.warnings
