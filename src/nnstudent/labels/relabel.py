"""Label maps of any maker, renamed, merged and renumbered to one label table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from nnstudent.cases import for_each_case
from nnstudent.errors import Failure, InputError
from nnstudent.evaluation.pairs import label_maps, passed_over
from nnstudent.inference.files.meshes import check_mesh, mesh_path, write_mesh
from nnstudent.io.atomic import write_json
from nnstudent.io.dicom.structures import is_structures, read_structures
from nnstudent.io.finder import list_folder
from nnstudent.io.lock import writing
from nnstudent.io.nifti import read_labels, stem, write_labels
from nnstudent.io.scan import read_scan
from nnstudent.labels.apply import apply_map
from nnstudent.labels.class_maps import ClassMap, declared_names
from nnstudent.labels.objects import check_object, object_path, write_object
from nnstudent.labels.regions import find_regions, scan_of
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray
from nnstudent.volume import Grid, Volume
from nnstudent.words import class_title, count

Conflict = Literal["first", "last", "agree"]


@dataclass(frozen=True)
class Relabeled:
    """What became of the label maps.

    Attributes:
        files: Case → the files that were written.
        failures: The cases that failed.
        notices: What was passed over or had to be guessed, one line each.
    """

    files: Mapping[str, tuple[Path, ...]]
    failures: tuple[Failure, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Source:
    """One place that label maps come from.

    Attributes:
        path: The file or folder.
        cases: Case → its files; each has the name of its only class, or None for a label map.
        values: Value in a label map → classes.
        names: Name of a single-class file, or of a region of a DICOM object → classes.
        images: Case → the scan of a DICOM object.
    """

    path: Path
    cases: Mapping[str, tuple[tuple[Path, str | None], ...]]
    values: Mapping[int, tuple[str, ...]]
    names: Mapping[str, tuple[str, ...]]
    images: Mapping[str, Path] = field(default_factory=dict)

    def known(self, taxonomy: Taxonomy) -> set[int]:
        """Return the ids of the classes that this source can have."""
        chosen = [*self.values.values(), *self.names.values()]
        return {taxonomy[name].id for names in chosen for name in names}


@dataclass(frozen=True)
class _Case:
    id: str
    sources: tuple[_Source, ...]

    def files(self) -> list[Path]:
        return [path for source in self.sources for path, _ in source.cases[self.id]]


def relabel(
    sources: Sequence[Path],
    out: Path,
    *,
    taxonomy: Taxonomy,
    class_map: ClassMap | None = None,
    conflict: Conflict = "first",
    split: bool = False,
    mesh: str | None = None,
    dicom: str | None = None,
    images: Path | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> Relabeled:
    """Write label maps with the ids of one label table.

    Args:
        sources: Each is a label map, a folder of them, a folder of files of one class each that
            are named after their class (one case), a folder of such folders, a DICOM-SEG or
            RTSTRUCT, or a folder of such objects.
        out: A file that ends in ``.nii.gz`` if there is one case, otherwise a folder.
        taxonomy: The label table to write.
        class_map: What the values mean; None to go by the names in a dataset.json and by the names
            of single-class files, and otherwise by the ids of ``taxonomy``.
        conflict: What a voxel becomes where several sources label it: what the ``first`` or the
            ``last`` of them says, or (``agree``) a class only if each source that knows this class
            says so.
        split: Write a file for each class found, ``OUT/CASE/CLASS.nii.gz``.
        mesh: Also write the surface of each class: ``glb``, all in ``CASE.glb``; ``stl``, as
            ``meshes/CASE/CLASS.stl``. None for no surfaces.
        dicom: Also write a DICOM object in the study of ``images``: ``seg``, as ``CASE.seg.dcm``;
            ``rtstruct``, as ``CASE.rtstruct.dcm``. None for none.
        images: For DICOM objects, those to read and those to write: the scan that they belong to,
            or a folder with one named after each; None if all are DICOM-SEG to read, whose own
            frames then make the grid.
        threads: Cases worked on at a time.
        progress: Called before the first and after each case.

    Raises:
        InputError: A source is missing, is empty, or a name has no meaning; ``out`` is a file and
            there are several cases or files.
        MissingExtraError: A package that makes surfaces or DICOM objects is not installed.
        OutputError: ``out`` cannot be written.
    """
    check_mesh(mesh)
    check_object(dicom, images)
    notices: list[str] = []
    found = [_source(path, taxonomy, class_map, images=images, notices=notices) for path in sources]
    if all(path.is_file() for path in sources):  # two files are one case, whatever their names
        found = _one_case(found)
    ids = sorted({id for source in found for id in source.cases})
    cases = [_Case(id, tuple(item for item in found if id in item.cases)) for id in ids]
    single = out.name.lower().endswith((".nii", ".nii.gz"))
    if single and (len(cases) > 1 or split):
        what = "a file for each class" if split else count(len(cases), "case")
        raise InputError(f"{out}: one file for {what}; give a folder")

    def work(case: _Case) -> tuple[tuple[Path, ...], list[str]]:
        volume, lines = _relabeled(case, taxonomy, conflict)
        name, root = (stem(out), out.parent) if single else (case.id, out)
        first = case.files()[0]
        like = first if first.name.lower().endswith((".nii", ".nii.gz")) else None
        if split:
            files = _write_classes(root / name, volume, like, taxonomy)
        else:
            files = (_write(out if single else out / f"{name}.nii.gz", volume, like),)
        if dicom is not None and images is not None:
            scan = scan_of(case.id, images, len(cases))
            files += _write_object(root, name, volume, first, taxonomy, dicom, scan, lines=lines)
        return files + _write_surfaces(root, name, volume, taxonomy, mesh, lines=lines), lines

    folder = out.parent if single else out
    with writing(folder, part=f"relabel {out.name}" if single else ""):
        outcomes = for_each_case(
            cases,
            work,
            files=lambda case: case.files(),
            what="cases",
            threads=threads,
            progress=progress,
        )
        if not single and not split and outcomes.results:
            notices += _declare(out, taxonomy)
    for case, (_, lines) in outcomes.results:
        notices += [f"{case.id}: {line}" for line in lines]
    return Relabeled(
        {case.id: files for case, (files, _) in outcomes.results},
        outcomes.failures,
        tuple(notices),
    )


def _write(path: Path, volume: Volume, like: Path | None) -> Path:
    write_labels(path, volume, like=like)
    return path


def _write_classes(
    folder: Path, volume: Volume, like: Path | None, taxonomy: Taxonomy
) -> tuple[Path, ...]:
    """Write a file for each class found, with 1 where it is."""
    files = []
    for id in np.unique(volume.array).tolist():
        if id:
            part = Volume((volume.array == id).astype(np.uint8), volume.grid)
            files.append(_write(folder / f"{taxonomy.by_id(id).name}.nii.gz", part, like))
    return tuple(files)


def _write_object(
    root: Path,
    name: str,
    volume: Volume,
    made_from: Path,
    taxonomy: Taxonomy,
    kind: str,
    scan: Path,
    *,
    lines: list[str],
) -> tuple[Path, ...]:
    """Write the DICOM object of a case."""
    path = object_path(root, name, kind)
    lines += write_object(path, volume, scan, taxonomy=taxonomy, kind=kind, made_from=made_from)
    return (path,)


def _write_surfaces(
    root: Path,
    name: str,
    volume: Volume,
    taxonomy: Taxonomy,
    mesh: str | None,
    *,
    lines: list[str],
) -> tuple[Path, ...]:
    """Write the surfaces of a case, if they were asked for."""
    if mesh is None:
        return ()
    if not volume.array.any():
        lines.append("no class is there, so that there is no surface")
        return ()
    path = mesh_path(root, name, mesh)
    return tuple(write_mesh(path, volume, taxonomy=taxonomy, kind=mesh))


def _declare(out: Path, taxonomy: Taxonomy) -> list[str]:
    """Write the label table beside the label maps, as nnU-Net does."""
    if sorted(taxonomy.ids) != list(range(1, len(taxonomy) + 1)):
        return [f"{out}: no dataset.json, because the ids of {taxonomy.name} have gaps"]
    labels = {"background": 0} | {item.name: item.id for item in taxonomy}
    own = {
        "taxonomy": taxonomy.to_dict(),
        "classes": {"0": "background"} | {str(item.id): item.name for item in taxonomy},
    }
    write_json(out / "dataset.json", {"labels": labels, "nnstudent": own})
    return []


def _one_case(sources: Sequence[_Source]) -> list[_Source]:
    """Return sources of one case each as sources of the same case, the first one's."""
    id = next(iter(sources[0].cases))
    return [
        replace(
            item,
            cases={id: next(iter(item.cases.values()))},
            images=dict(zip([id], item.images.values(), strict=False)),
        )
        for item in sources
    ]


def _source(
    path: Path,
    taxonomy: Taxonomy,
    class_map: ClassMap | None,
    *,
    images: Path | None,
    notices: list[str],
) -> _Source:
    regions = find_regions(path, taxonomy, class_map, images=images)
    if regions is not None:
        if regions.unknown:
            some = ", ".join(regions.unknown[:8]) + (" …" if len(regions.unknown) > 8 else "")
            notices.append(f"{path}: regions that are none of the label table: {some}")
        return _Source(path, regions.cases, {}, regions.names, regions.images)
    names: dict[str, tuple[str, ...]] = {name: (name,) for name in taxonomy.names}
    if class_map is not None:
        names |= class_map.targets
    known = set(names) | (set() if class_map is None else set(class_map.classes.values()))
    cases = _single_class_cases(path, known)
    if cases:
        return _Source(path, cases, {}, names)
    maps = label_maps(path, what="label maps")
    notices += passed_over(path)
    folder = path if path.is_dir() else path.parent
    named = declared_names(folder)
    if class_map is not None:
        values = class_map.values(named, where=str(path))
    else:
        values = {value: (name,) for name, value in named.items() if name in taxonomy.names}
        if named and not values:
            raise InputError(
                f"{path}: its classes ({', '.join(named)}) are none of label table "
                f"{taxonomy.name}; say what they are with --map, or name their table with --to"
            )
    if not values:
        values = {item.id: (item.name,) for item in taxonomy}
    return _Source(path, {id: ((file, None),) for id, file in maps.items()}, values, {})


def _single_class_cases(
    path: Path, known: Iterable[str]
) -> dict[str, tuple[tuple[Path, str | None], ...]]:
    """Return the cases of a folder of single-class files, or of a folder of such folders."""
    known = set(known)
    if not path.is_dir():
        return {}
    listing = list_folder(path)
    folders = [path] if listing.volumes else listing.folders
    cases: dict[str, tuple[tuple[Path, str | None], ...]] = {}
    for folder in folders:
        files = list_folder(folder).volumes
        if files and all(stem(file) in known for file in files):
            cases[folder.resolve().name] = tuple((file, stem(file)) for file in files)
    return cases


def _relabeled(case: _Case, taxonomy: Taxonomy, conflict: Conflict) -> tuple[Volume, list[str]]:
    lines: list[str] = []
    volumes = [_read(source, case.id, taxonomy, lines=lines) for source in case.sources]
    first = volumes[0]
    for source, other in zip(case.sources[1:], volumes[1:], strict=True):
        first.grid.require(
            other.grid,
            what=str(source.cases[case.id][0][0]),
            of=str(case.sources[0].cases[case.id][0][0]),
            advice="resample one onto the other",
        )
    arrays = [volume.array for volume in volumes]
    if conflict == "agree":
        known = [source.known(taxonomy) for source in case.sources]
        return Volume(_agreed(arrays, known), first.grid), lines
    merged = np.zeros_like(arrays[0])
    for array in reversed(arrays) if conflict == "first" else arrays:
        np.copyto(merged, array, where=array > 0)
    return Volume(merged, first.grid), lines


def _agreed(arrays: Sequence[LabelArray], known: Sequence[set[int]]) -> LabelArray:
    candidate = np.zeros_like(arrays[0])
    for array in reversed(arrays):
        np.copyto(candidate, array, where=array > 0)
    agreed = np.ones(candidate.shape, bool)
    for array, ids in zip(arrays, known, strict=True):
        agreed &= (array == candidate) | ((array == 0) & ~np.isin(candidate, list(ids)))
    merged: LabelArray = candidate * agreed
    return merged


def _read(source: _Source, id: str, taxonomy: Taxonomy, *, lines: list[str]) -> Volume:
    files = source.cases[id]
    if files[0][1] is None:
        labels = read_labels(files[0][0])
        lines += labels.warnings
        return Volume(apply_map(labels, source.values, taxonomy, lines=lines), labels.grid)
    grid: Grid | None = None
    merged = np.zeros(0, np.uint8)
    read = _opened(source, id)
    # Organs in the table's order, lesions over them: what is written last stays.
    for path, name in sorted(files, key=lambda item: _rank(item[1], source.names, taxonomy)):
        if str(name) not in source.names:
            continue  # a class of that maker which is none of the table
        part = read(path, str(name))
        if grid is None:
            grid, merged = part.grid, np.zeros(part.grid.shape, np.uint8)
        grid.require(part.grid, what=str(path), of=str(files[0][0]), advice="resample it")
        targets = source.names[str(name)]
        single = Volume((part.array > 0).astype(np.uint8), part.grid)
        mine = apply_map(single, {1: targets}, taxonomy, lines=lines)
        lesion = taxonomy[targets[0]].kind == "lesion"
        overlap = int(np.count_nonzero((merged > 0) & (mine > 0) & (merged != mine)))
        if overlap and not lesion:
            lines.append(
                f"{class_title(str(name))} overlaps other classes in {count(overlap, 'voxel')}, "
                "which keep them"
            )
        np.copyto(merged, mine, where=(mine > 0) & ((merged == 0) | lesion))
    if grid is None:
        raise InputError(f"{source.path}: no label map of {id}")
    return Volume(merged, grid)


def _opened(source: _Source, id: str) -> Callable[[Path, str], Volume]:
    """What reads one class of a case: from a file of its own, or as a region of a DICOM object."""
    first = source.cases[id][0][0]
    if not is_structures(first):
        return lambda path, _: read_labels(path)
    scan = source.images.get(id)
    onto = None if scan is None else read_scan(scan, ask=False)[0].grid
    objects = read_structures(first, onto=onto)
    return lambda _, name: objects.read(name)


def _rank(
    name: str | None, names: Mapping[str, tuple[str, ...]], taxonomy: Taxonomy
) -> tuple[bool, int]:
    targets = names.get(str(name), ())
    item = taxonomy[targets[0]] if targets else None
    return (item is not None and item.kind == "lesion", 0 if item is None else item.id)
