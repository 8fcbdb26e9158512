"""Reading a task's cases before preprocessing: label maps in channels, intensities and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnstudent.cohort.check import read_case_image
from nnstudent.cohort.cohort import Case
from nnstudent.errors import InputError
from nnstudent.io.nifti import (
    is_standard_nifti,
    read_grid,
    read_image,
    read_labels,
    write_image,
    write_labels,
)
from nnstudent.taxonomy import IGNORE
from nnstudent.training.plans import Fingerprint
from nnstudent.training.task import Task
from nnstudent.types import Float32Array
from nnstudent.volume import Volume

# Foreground voxels sampled over all cases; percentiles of 0.5 % rest on ten thousand of them.
_SAMPLED_VOXELS = 2_000_000


@dataclass(frozen=True)
class CaseFacts:
    """A case that could be read.

    Attributes:
        image: The image, in a format that nnU-Net reads.
        label: Its label map in the task's channels.
        intensities: HU of sampled foreground voxels.
        spacing_mm: (z, y, x).
        shape: (z, y, x).
        volume_ml: Volume of the background and of each class.
        ignored: Whether any voxel has the ignore label.
    """

    image: Path
    label: Path
    intensities: Float32Array
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    volume_ml: tuple[float, ...]
    ignored: bool


def inspect_case(task: Task, case: Case, raw: Path) -> CaseFacts:
    """Read a case, write its label map in channels, and measure it as nnU-Net does.

    Args:
        task: The task.
        case: The case.
        raw: Folder to write label maps into, and images that nnU-Net cannot read as they are.

    Raises:
        InputError: The case has no label map, or a file cannot be read.
        GeometryError: The label map is on another grid than the image.
    """
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
        DatasetFingerprintExtractor,
    )
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient

    if case.label is None:
        raise InputError("has no label map; training needs one")
    if not case.checked:
        read_case_image(case)
    labels = read_labels(case.label)
    grid = read_grid(case.image)
    grid.require(labels.grid, what="the label", advice="resample the label onto the image")
    channels = to_channels(labels, task, case)
    path = raw / "labels" / f"{case.id}.nii.gz"
    ignore = len(task.classes) + 1
    counts = np.bincount(channels.array.ravel(), minlength=ignore + 1)
    ignored = bool(counts[ignore])
    # nnU-Net measures intensities over every voxel above 0, so ignored ones are 0 meanwhile.
    foreground = np.where(channels.array == ignore, 0, channels.array).astype(np.uint8)
    write_labels(path, Volume(foreground, channels.grid) if ignored else channels)
    image = _as_nifti(case.image, raw / "images" / f"{case.id}.nii.gz")
    shape, spacing, intensities, _, _ = DatasetFingerprintExtractor.analyze_case(
        [str(image)],
        str(path),
        NibabelIOWithReorient,
        num_samples=max(10_000, _SAMPLED_VOXELS // len(task.cases)),
    )
    if ignored:
        write_labels(path, channels)
    z, y, x = (float(mm) for mm in spacing)
    return CaseFacts(
        image=image.resolve(),
        label=path.resolve(),
        intensities=np.asarray(intensities[0], np.float32),
        spacing_mm=(z, y, x),
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        volume_ml=tuple(float(count) * labels.grid.voxel_ml for count in counts[:-1]),
        ignored=ignored,
    )


def to_channels(labels: Volume, task: Task, case: Case, *, hide: bool = False) -> Volume:
    """Turn a label map of taxonomy ids into one of the task's channels.

    Every other class becomes background, and the ignore label comes after the last channel. A
    lesion drawn over an organ is background to an organ teacher: the label map says "tumor, not
    liver" there, and a student is taught the same.

    Args:
        labels: Label map, taxonomy ids.
        task: The task, with its classes.
        case: The case; only classes that are annotated in it are kept.
        hide: Leave out the classes that the task hides in this case.
    """
    table = np.zeros(256, np.uint8)
    hidden = task.hidden.get(case.id, ()) if hide else ()
    for channel, name in enumerate(task.classes, 1):
        if name in case.annotated and name not in hidden:
            table[task.taxonomy[name].id] = channel
    table[IGNORE] = len(task.classes) + 1
    return Volume(table[labels.array], labels.grid)


def _as_nifti(image: Path, copy: Path) -> Path:
    """The image itself if nnU-Net's reader takes it as it is, otherwise a copy that it takes."""
    if is_standard_nifti(image):
        return image
    write_image(copy, read_image(image))
    return copy


def make_fingerprint(
    facts: Sequence[CaseFacts], window_hu: tuple[float, float] | None = None
) -> Fingerprint:
    """nnU-Net's fingerprint of the cases.

    Args:
        facts: The cases.
        window_hu: Range that intensities are clipped to, in HU; None: the middle 99 % of them.

    Raises:
        InputError: No case has a voxel of the classes.
    """
    values = np.concatenate([case.intensities for case in facts])
    if values.size == 0:
        raise InputError(
            "no case has a single voxel of the classes to learn; "
            "check the label maps and what is annotated"
        )
    low, median, high = (float(v) for v in np.percentile(values, (0.5, 50.0, 99.5)))
    if window_hu is not None:
        low, high = window_hu
        values = values.clip(low, high)
    intensity: Mapping[str, float] = {
        "mean": float(values.mean(dtype=np.float64)),
        "median": median,
        "std": float(values.std(dtype=np.float64)),
        "min": float(values.min()),
        "max": float(values.max()),
        "percentile_99_5": high,
        "percentile_00_5": low,
    }
    z, y, x = (float(v) for v in np.median([case.spacing_mm for case in facts], axis=0))
    sizes = [int(v) for v in np.median([case.shape for case in facts], axis=0)]
    volumes = tuple(float(v) for v in np.sum([case.volume_ml for case in facts], axis=0))
    return Fingerprint(intensity, (z, y, x), (sizes[0], sizes[1], sizes[2]), volumes)
