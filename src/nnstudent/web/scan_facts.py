"""What a scan is: its size, its spacing, its series, and its contrast phase as a guess."""

from __future__ import annotations

from typing import Any

from nnstudent.inference.files.scan import SegmentedScan
from nnstudent.inference.labels.phase import guess_phase
from nnstudent.inference.labels.volumetry import Row
from nnstudent.io.dicom.read import read_header
from nnstudent.web.names import display_name
from nnstudent.words import class_title

_PHASES = {
    "none": "no contrast",
    "arterial": "arterial phase",
    "portal": "portal venous phase or later",
}


def scan_facts(scan: SegmentedScan, rows: list[Row]) -> dict[str, Any]:
    """Describe a scan, as :class:`~nnstudent.web.job.ScanFacts` has it.

    Args:
        scan: The scan.
        rows: The table of its organs, with the columns of
            :data:`~nnstudent.inference.labels.volumetry.COLUMNS`.
    """
    grid = scan.image.grid
    hu = {row[1]: float(row[3]) for row in rows if row[3]}
    guess = guess_phase(hu)
    phase = None
    if guess is not None:
        kind, organ = guess
        phase = f"{_PHASES[kind]}, judging by the {class_title(organ)} of {hu[organ]:.0f} HU"
    return {
        "size": list(grid.shape[::-1]),
        "spacing_mm": [round(mm, 3) for mm in grid.spacing_mm[::-1]],
        "series": _series(scan),
        "phase": phase,
    }


def _series(scan: SegmentedScan) -> str | None:
    """Return the description of a DICOM series; None if it has none."""
    if scan.sources.series is None:
        return None
    header, _ = read_header(scan.sources.series.stack.slices[0].path, ["SeriesDescription"])
    description = str(header.get("SeriesDescription") or "").strip()
    return display_name(description) if description else None
