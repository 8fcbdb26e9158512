"""One scan from its file to its labels; nothing is written."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from nnstudent.errors import InputError
from nnstudent.inference.files.formats import Sources, prepare
from nnstudent.inference.files.options import Options
from nnstudent.inference.labels.volumetry import findings
from nnstudent.inference.pipelining import MemoryReservation, Stages, run_stages
from nnstudent.inference.segmentation import Segmentation, keep_organs, quality_notes
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_grid
from nnstudent.io.scan import is_series, read_scan
from nnstudent.io.unpacked import unpacked
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Shape, Volume


@dataclass(frozen=True, eq=False)
class SegmentedScan:
    """A scan and its segmentation.

    Attributes:
        image: The image.
        sources: What output formats refer to.
        segmentation: Labels and facts; its seconds include ``read``, its warnings those of
            reading the scan.
    """

    image: Volume
    sources: Sources
    segmentation: Segmentation

    def described(self, taxonomy: Taxonomy, formats: Iterable[str]) -> Sources:
        """Return what output formats refer to, with what they say of each class.

        Args:
            taxonomy: The label table.
            formats: The formats.
        """
        found = {}
        if "dicom-sr" in formats:
            found = findings(self.image, self.segmentation, taxonomy)
        return replace(self.sources, notes=quality_notes(self.segmentation), findings=found)


def segment_scan(
    source: Path,
    segmenter: Segmenter,
    *,
    options: Options | None = None,
    progress: Progress = silent,
) -> SegmentedScan:
    """Read a scan and segment it.

    Args:
        source: See :func:`~nnstudent.io.scan.read_scan`.
        segmenter: The model.
        options: What is read, and which formats will be written.
        progress: Called after each window.

    Raises:
        InputError: The image cannot be used, does not fit in memory, or no format can be written.
        GeometryError: The image's geometry cannot be used.
        MissingExtraError: A package that is needed is not installed.
    """
    reservation = segmenter.memory_reservation()
    with unpacked(source) as place:
        return run_stages(
            scan_stages(
                place,
                segmenter,
                reservation=reservation,
                name="",
                options=options or Options(),
                progress=progress,
            )
        )


def scan_stages(
    source: Path,
    segmenter: Segmenter,
    *,
    reservation: MemoryReservation,
    name: str,
    options: Options,
    progress: Progress,
) -> Stages[SegmentedScan]:
    """As :func:`segment_scan` in stages, so that those of several scans can overlap.

    Args:
        source: See :func:`segment_scan`; an archive has been unpacked.
        segmenter: See :func:`segment_scan`.
        reservation: Shared by concurrent cases; the caller releases what this case acquires.
        name: Name of the case in the reservation.
        options: See :func:`segment_scan`.
        progress: See :func:`segment_scan`.
    """
    plan = None
    if not is_series(source):  # a case too large is refused before it is read; DICOM is read first
        grid = read_grid(source)
        _check_size(grid.shape, options.max_voxels)
        plan = segmenter.plan(grid, base_mb=reservation.base_mb)
    reservation.acquire(name, plan.peak_mb if plan else None)
    began = time.perf_counter()
    image, series = read_scan(source, series=options.series, ask=options.ask)
    _check_size(image.grid.shape, options.max_voxels)
    sources = prepare(source, options.formats, series=series, new_uids=options.new_uids)
    read = time.perf_counter() - began
    plan = segmenter.plan(image.grid, image=image, base_mb=reservation.base_mb)
    reservation.acquire(name, plan.peak_mb)
    result = yield from segmenter.stages(
        image,
        plan=plan,
        progress=progress,
        keep=options.probabilities or options.uncertainty,
        most_kept_bytes=options.most_kept_bytes,
    )
    result = replace(
        result,
        seconds={"read": read, **result.seconds, "total": read + result.seconds["total"]},
        warnings=(*(series.warnings if series else ()), *sources.warnings, *result.warnings),
        predicted_peak_mb=max(result.predicted_peak_mb, reservation.highest_mb),
    )
    if options.organs:
        result = keep_organs(result, options.organs, segmenter.taxonomy)
    return SegmentedScan(image, sources, result)


def _check_size(shape: Shape, most: int | None) -> None:
    voxels = math.prod(shape)
    if most is not None and voxels > most:
        raise InputError(
            f"an image of {voxels / 1e6:.0f} million voxels; expected at most {most / 1e6:.0f}, "
            "cut it to the abdomen"
        )
