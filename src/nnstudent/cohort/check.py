"""Checks of one case's files: is the image a CT, and does the label map belong to it?"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.cohort.cohort import Case
from nnstudent.cohort.sources.source import Entry
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_header, read_image, read_labels, write_image, write_labels
from nnstudent.io.plausible import geometry_warnings, image_warnings, require_ct
from nnstudent.io.record import data_hash
from nnstudent.io.scan import is_series, read_scan
from nnstudent.io.unpacked import is_archive
from nnstudent.serialization import Record
from nnstudent.taxonomy import IGNORE, Taxonomy
from nnstudent.types import LabelArray
from nnstudent.volume import Grid, Volume

log = logging.getLogger(__name__)

# A label map that is farther off is copied onto the image's grid for the sake of stricter readers.
_SAME_MM = 0.01


@dataclass(frozen=True, slots=True)
class Facts:
    """The contents of a case's files.

    Attributes:
        image: The CT to use: the source's, or the NIfTI file converted from DICOM or an archive.
        label: The label map to use: the source's, or a copy on the image's grid with the table's
            ids; None if there is none.
        size: Voxels along (x, y, z).
        spacing_mm: Spacing along (x, y, z), in mm.
        axcodes: Direction in which the axes (x, y, z) increase.
        hu: Smallest and largest value of the image; None if only its header was read.
        present: Names of the classes that occur in the label map.
        warnings: What is unusual but usable, one line each.
    """

    image: Path
    label: Path | None
    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    axcodes: str
    hu: tuple[float, float] | None
    present: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def checked(self) -> bool:
        """Whether the voxels of the image were read."""
        return self.hu is not None

    @property
    def geometry(self) -> str:
        """Size, spacing and orientation, such as ``512×512×100 at 0.80×0.80×2.50 mm, LPS``."""
        size = "×".join(map(str, self.size))
        spacing = "×".join(f"{mm:.2f}" for mm in self.spacing_mm)
        return f"{size} at {spacing} mm, {self.axcodes}"

    def to_dict(self) -> dict[str, Any]:
        """The facts as plain data."""
        return {
            "image": str(self.image),
            "label": None if self.label is None else str(self.label),
            "size": list(self.size),
            "spacing_mm": list(self.spacing_mm),
            "axcodes": self.axcodes,
            "hu": None if self.hu is None else list(self.hu),
            "present": list(self.present),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Facts:
        """The facts from the result of :meth:`to_dict`.

        Raises:
            InputError: An entry is missing or of another type.
        """
        entry = Record(data, "what index found before")
        label = entry.get("label", str | None)
        return cls(
            image=Path(entry.get("image", str)),
            label=None if label is None else Path(label),
            size=entry.get("size", tuple[int, int, int]),
            spacing_mm=entry.get("spacing_mm", tuple[float, float, float]),
            axcodes=entry.get("axcodes", str),
            hu=entry.get("hu", tuple[float, float] | None),
            present=entry.get("present", tuple[str, ...]),
            warnings=entry.get("warnings", tuple[str, ...]),
        )


def file_stamp(path: Path | None) -> Any:
    """Size and modification time of a file, or a hash of those of all files in and below a folder.

    None if the path is None or does not exist.
    """
    if path is None:
        return None
    try:
        state = path.stat()  # once: of 150,000 cases on a network disk it is what takes the time
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(state.st_mode):
        files = [Path(root, name) for root, _, names in os.walk(path) for name in names]
        rows = [
            (str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns)
            for file in files
            if file.is_file()
        ]
        return data_hash(sorted(rows))
    return [state.st_size, state.st_mtime_ns]


def check_case(entry: Entry, *, taxonomy: Taxonomy, out: Path, quick: bool = False) -> Facts:
    """Read all files of a case and return what they hold.

    A DICOM series or an archive is converted to ``out/images/ID.nii.gz``. A label map is copied to
    ``out/labels/ID.nii.gz`` if its ids differ from the table's, if it is stored in another
    orientation than the image, or if its header is off by rounding.

    Args:
        entry: The case.
        taxonomy: The label table.
        out: The cohort's folder.
        quick: Whether only the header of an image is read, unless it has to be converted.

    Raises:
        InputError: A file is missing or not a 3D image, the image is not a CT, or the label map has
            ids that are not in the table.
        GeometryError: The geometry is unusable, or the label map is on another grid.
        OutputError: A copy cannot be written.
    """
    is_converted = is_series(entry.image) or is_archive(entry.image)
    converted: Volume | None = None
    hu: tuple[float, float] | None = None
    if quick and not is_converted:
        grid, warnings = read_header(entry.image)
        warnings += geometry_warnings(grid)
    else:
        image, warnings = _image(entry)
        require_ct(image)
        grid, hu = image.grid, (float(image.array.min()), float(image.array.max()))
        warnings += image_warnings(image)
        converted = image if is_converted else None
        del image  # the label map needs room too
    present: tuple[str, ...] = ()
    changed: Volume | None = None
    if entry.label is not None:
        labels, is_changed = _labels(entry, grid)
        present = _present(entry.label, labels, taxonomy)
        changed = labels if is_changed else None
        warnings += _ignored(labels.array)
    # Nothing is written before everything is checked, so that a broken case leaves no copy.
    image_path, label_path = entry.image, entry.label
    if converted is not None:
        image_path = out / "images" / f"{entry.id}.nii.gz"
        write_image(image_path, converted)
    if changed is not None:
        label_path = out / "labels" / f"{entry.id}.nii.gz"
        write_labels(label_path, changed, like=image_path)
    z, y, x = grid.shape
    dz, dy, dx = (round(mm, 4) for mm in grid.spacing_mm)
    return Facts(
        image=image_path,
        label=label_path,
        size=(x, y, z),
        spacing_mm=(dx, dy, dz),
        axcodes=grid.axcodes,
        hu=hu,
        present=present,
        warnings=warnings,
    )


def read_case_image(case: Case) -> Volume:
    """Read the CT of a case; if ``index`` read only its header, check it as ``index`` does.

    What is unusual about it is then logged, one line each.

    Raises:
        InputError: It cannot be read, or is not a CT.
        GeometryError: Its geometry is unusable.
    """
    image = read_image(case.image)
    if not case.checked:
        require_ct(image)
        for warning in image_warnings(image):
            log.warning("%s: %s", case.id, warning)
    return image


def _image(entry: Entry) -> tuple[Volume, tuple[str, ...]]:
    """The CT, and what was corrected in its series."""
    image, series = read_scan(entry.image, ask=not entry.choose)
    return image, () if series is None else series.warnings


def _labels(entry: Entry, grid: Grid) -> tuple[Volume, bool]:
    """The label map on exactly the image's grid with the table's ids, and whether it changed."""
    path = entry.label or Path()
    labels = read_labels(path)
    turned = labels.reoriented(grid.axcodes)
    skip = f"--skip {entry.id}"
    grid.require(
        turned.grid,
        what=str(path),
        advice=f"resample the label onto the image or leave the case out with {skip}",
    )
    changed = not labels.grid.matches(grid, tolerance_mm=_SAME_MM)
    array = turned.array
    if entry.ids is not None:
        table = np.arange(256, dtype=np.uint8)
        unknown = sorted(set(_ids(array)) - set(entry.ids) - {0})
        if unknown:
            raise InputError(
                f"{path}: holds the ids {_list(unknown)}, which its dataset.json does not name; "
                "correct one of the two"
            )
        for old, new in entry.ids.items():
            table[old] = new
        array, changed = table[array], True
    return Volume(np.ascontiguousarray(array), grid), changed


def _ids(array: LabelArray) -> list[int]:
    seen = np.zeros(256, bool)
    for plane in array:  # indexing by the whole scan at once would take eight times its memory
        seen[plane] = True
    return [int(id) for id in np.flatnonzero(seen)]


def _list(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:8])) + (" …" if len(ids) > 8 else "")


def _present(path: Path, labels: Volume, taxonomy: Taxonomy) -> tuple[str, ...]:
    ids = [id for id in _ids(labels.array) if id not in (0, IGNORE)]
    unknown = [id for id in ids if id not in taxonomy.ids]
    if unknown:
        raise InputError(
            f"{path}: holds the ids {_list(unknown)}, which label table {taxonomy.name} does not "
            f"have ({min(taxonomy.ids)} to {max(taxonomy.ids)}); "
            "correct the label map or give its table with --taxonomy FILE"
        )
    return tuple(taxonomy.by_id(id).name for id in ids)


def _ignored(labels: LabelArray) -> tuple[str, ...]:
    """The share of the voxels that nobody looked at, if any."""
    share = np.count_nonzero(labels == IGNORE) / labels.size
    if not share:
        return ()
    return (f"{100 * share:.2g} % of its voxels are ignored ({IGNORE}): not learned from",)
