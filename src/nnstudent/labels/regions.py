"""The regions of DICOM objects, and which classes of a label table their names mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnstudent.errors import InputError
from nnstudent.io.dicom.contents import holds_dicom
from nnstudent.io.dicom.structures import is_structures, region_names
from nnstudent.io.nifti import stem
from nnstudent.labels.class_maps import ClassMap
from nnstudent.taxonomy import Taxonomy
from nnstudent.words import match_class

_ENDINGS = (".dcm", ".seg", ".rtstruct")


@dataclass(frozen=True)
class Regions:
    """The DICOM objects at a path.

    Attributes:
        cases: Case → its regions, each as the object and the region's name.
        names: Name of a region → classes; one, or the right and the left one of a pair.
        images: Case → the scan whose grid the labels get; empty for the objects' own.
        unknown: Names that are none of the label table.
    """

    cases: Mapping[str, tuple[tuple[Path, str], ...]]
    names: Mapping[str, tuple[str, ...]]
    images: Mapping[str, Path]
    unknown: tuple[str, ...] = ()


def find_regions(
    path: Path, taxonomy: Taxonomy, class_map: ClassMap | None, *, images: Path | None
) -> Regions | None:
    """Find the DICOM-SEG and RTSTRUCT at a path.

    Args:
        path: An object, or a folder of them; a case is called like its file.
        taxonomy: The label table.
        class_map: What the names mean; None to go by the table's names.
        images: The scan of the only object, or a folder with one named after each; None for none.

    Returns:
        The regions; None if there is no such object.

    Raises:
        InputError: An object is malformed, two have one name, no region is in the table, or a scan
            is missing.
        MissingExtraError: pydicom is not installed.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    objects = [file for file in files if is_structures(file)]
    if not objects:
        return None
    cases: dict[str, tuple[tuple[Path, str], ...]] = {}
    for file in objects:
        id = file.name
        for ending in _ENDINGS:
            id = id.removesuffix(ending)
        if id in cases:
            raise InputError(f"{file}: {cases[id][0][0].name} is the same case; rename one")
        cases[id] = tuple((file, name) for name in region_names(file))
    all_names = sorted({name for regions in cases.values() for _, name in regions})
    meant = {name: _meant(name, taxonomy, class_map) for name in all_names}
    names = {name: targets for name, targets in meant.items() if targets}
    unknown = tuple(name for name in all_names if name not in names)
    if not names:
        raise InputError(
            f"{path}: none of its regions ({', '.join(unknown[:5])}) is in label table "
            f"{taxonomy.name}; say what they are with --map NAME=CLASS"
        )
    scans = {} if images is None else {id: scan_of(id, images, len(cases)) for id in cases}
    return Regions(cases, names, scans, unknown)


def _meant(name: str, taxonomy: Taxonomy, class_map: ClassMap | None) -> tuple[str, ...]:
    """The classes that a region's name means; none if it is not in the table."""
    targets = {} if class_map is None else class_map.targets
    known = match_class(name, targets)
    if known is not None:
        return targets[known]
    own = match_class(name, taxonomy.names)
    return () if own is None else (own,)


def scan_of(id: str, images: Path, count: int) -> Path:
    """Return the scan of a case: the only one, or that of its name in a folder.

    Args:
        id: The case.
        images: The scan, or a folder of scans that are named after their cases.
        count: How many cases there are.

    Raises:
        InputError: There is no such scan, or one scan for several cases.
    """
    if images.is_file() or (count == 1 and images.is_dir() and holds_dicom(images)):
        if count > 1:
            raise InputError(
                f"{images}: one scan for {count} cases; give a folder with one named after each"
            )
        return images
    named = [
        path
        for path in (sorted(images.iterdir()) if images.is_dir() else ())
        if id in (path.name, stem(path))
    ]
    if len(named) != 1:
        raise InputError(f"{images}: has no image of {id}; expected one that is named after it")
    return named[0]
