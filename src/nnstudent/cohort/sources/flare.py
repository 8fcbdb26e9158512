"""Folders of the FLARE22 and FLARE23 challenges, as released and as people keep them.

FLARE23 is released as ``imagesTr2200``, ``labelsTr2200``, ``unlabelTr1800`` and ``validation``;
FLARE22 as ``FLARE22_LabeledCase50/images`` and ``/labels``, ``FLARE22_UnlabeledCase1-1000`` and so
on, ``Validation``. Folders are recognized by the words in their names, at any depth, and a label
map belongs to the image of the same name.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnstudent.cohort.cohort import Role
from nnstudent.cohort.sources.source import (
    EXPECTED,
    LIST_THEM,
    Entry,
    Source,
    safe_id,
    without_twins,
)
from nnstudent.errors import Failure, InputError
from nnstudent.io.finder import (
    DICOM,
    LABELS,
    Listing,
    case_names,
    channels_of,
    describe,
    list_folder,
)
from nnstudent.io.nifti import stem
from nnstudent.taxonomy import Taxonomy, flare23

_DEPTH = 5
_LABELS = re.compile(r"^(labels?|masks?|gt|ground_?truth)(?![a-z]*case)", re.I)
_IMAGES = re.compile(r"^images?|unlabel|^val|^tuning|^test", re.I)
_TEST = re.compile(r"(^|[^a-z]|images|labels)(val|tuning|test)|(images|labels)ts", re.I)
_PSEUDO = re.compile(r"pseudo|predict", re.I)
# Every case of this release has all 13 organs annotated, including those that surgery has removed.
_ALL_ORGANS = re.compile(r"(?<!un)labeledcase", re.I)


@dataclass(frozen=True)
class _Folder:
    path: Path
    name: str
    files: tuple[Path, ...]
    is_labels: bool
    role: Role

    @property
    def subset(self) -> str:
        """The name without the word for images or labels: ``imagesTr2200`` → ``tr2200``."""
        return re.sub(r"images?|labels?|masks?", "", self.name, flags=re.I).lower()


def read(folder: Path, *, taxonomy: Taxonomy | None = None) -> Source:
    """Read a FLARE folder: the download itself, or a folder that contains it.

    Raises:
        InputError: No folder in it has the name of an image folder.
    """
    folder = Path(os.path.abspath(folder))  # its own name counts too, even if it was given as "."
    walked = list(_walk(folder))
    folders = list(_folders(folder, walked))
    images = [found for found in folders if not found.is_labels]
    if not images:
        count = sum(len(listing.volumes) for _, listing in walked)
        what = (
            f"{count} image{'' if count == 1 else 's'} in it, but in"
            if count
            else "no image in it, and"
        )
        raise InputError(f"{folder}: {what} no known layout; expected {EXPECTED}; {LIST_THEM}")
    labels: dict[str, list[tuple[_Folder, Path]]] = defaultdict(list)
    for found in folders:
        if found.is_labels:
            for file, name in case_names(found.files).items():
                labels[name].append((found, file))
    table = taxonomy or flare23()
    entries, used = [], set()
    for found in images:
        if channels := channels_of(found.files):
            raise InputError(
                f"{found.path}: holds {len(channels)} channels of each case; "
                "expected one, the CT, ending in _0000"
            )
        for file, name in case_names(found.files).items():
            label = _matching_label(found, labels.get(name) or labels.get(stem(file)) or ())
            used.add(label)
            all_organs = (
                label is not None
                and taxonomy is None
                and _ALL_ORGANS.search(str(label.relative_to(folder.parent)))
            )
            entries.append(
                Entry(safe_id(name), file, label, table.organs if all_organs else None, found.role)
            )
    kept, twins = without_twins(entries)
    lost = [(name, file) for name, rows in labels.items() for _, file in rows if file not in used]
    orphans = [
        Failure(safe_id(name), f"{file}: a label map without an image of that name")
        for name, file in lost
    ]
    ignored = [path.relative_to(folder) for path in _ignored(folder, walked)]
    notices = [
        f"{path}: not read, because pseudo-labels are not truth; "
        "give them to: nnstudent label --from"
        for path in ignored
    ]
    notices += describe(_passed_over(folder, walked, folders), root=folder)
    return Source("a FLARE folder", table, kept, (*twins, *orphans), tuple(notices))


def _matching_label(images: _Folder, labels: Sequence[tuple[_Folder, Path]]) -> Path | None:
    """The label map of an image among those of the same name.

    A folder with a similar name takes precedence, then the nearest folder.
    """
    if not labels or "unlabel" in images.name.lower():
        return None

    def distance(row: tuple[_Folder, Path]) -> tuple[bool, bool, str]:
        return row[0].subset != images.subset, row[0].path.parent != images.path.parent, str(row[1])

    candidates = [row for row in labels if row[0].role == images.role] or list(labels)
    return min(candidates, key=distance)[1]


def _walk(root: Path) -> Iterator[tuple[Path, Listing]]:
    for name, folders, _ in os.walk(root, followlinks=True):
        here = Path(name)
        # An output folder that lies inside the source is not part of it.
        inside = len(here.relative_to(root).parts) < _DEPTH and not (here / "cohort.json").exists()
        folders[:] = sorted(f for f in folders if inside and not f.startswith("."))
        if inside:
            yield here, list_folder(here)


def _folders(root: Path, walked: Iterable[tuple[Path, Listing]]) -> Iterator[_Folder]:
    for path, listing in walked:
        relative = path.relative_to(root).parts
        if not listing.volumes or _is_pseudo(relative):
            continue
        name = _type_name(relative)
        if name is not None:
            role: Role = "test" if any(_TEST.search(part) for part in relative) else "train"
            is_labels = bool(_LABELS.search(name))
            files = listing.volumes if is_labels else listing.images
            if files:
                yield _Folder(path, name, files, is_labels, role)


def _passed_over(
    root: Path, walked: Iterable[tuple[Path, Listing]], folders: Iterable[_Folder]
) -> dict[str, list[Path]]:
    """All files that are neither the image nor the label map of a case, by kind."""
    labels = {folder.path for folder in folders if folder.is_labels}
    known = {folder.path for folder in folders}
    passed: dict[str, list[Path]] = defaultdict(list)
    for path, listing in walked:
        if _is_pseudo(path.relative_to(root).parts):
            continue
        for kind, paths in listing.passed_over.items():
            passed[kind].extend(paths)
        passed[DICOM].extend(listing.dicom)
        if path not in known:
            passed["image in a folder that is named like neither images nor labels"].extend(
                listing.volumes
            )
        elif path not in labels:
            passed[LABELS].extend(listing.labels)
    return passed


def _type_name(parts: Sequence[str]) -> str | None:
    """The innermost folder name that says whether the folder has images or labels, if any."""
    for part in reversed(parts):
        if _LABELS.search(part) or _IMAGES.search(part):
            return part
    return None


def _is_pseudo(parts: Iterable[str]) -> bool:
    return any(_PSEUDO.search(part) for part in parts)


def _ignored(root: Path, walked: Iterable[tuple[Path, Listing]]) -> list[Path]:
    return [
        path
        for path, listing in walked
        if listing.volumes and _is_pseudo(path.relative_to(root).parts)
    ]
