"""The teachers' uncertainty, carried through nnU-Net's preprocessing beside the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.cohort.cohort import Case
from nnstudent.inference.grid.resample import neighbors
from nnstudent.io.nifti import read_grid, read_labels, write_labels
from nnstudent.training.task import Task
from nnstudent.volume import Volume

CERTAIN = 255  # a probability of 1


def uncertainty_files(task: Task, case: Case, raw: Path) -> tuple[Path, Path] | None:
    """Write a case's runner-up labels and uncertainty on the task's channels.

    The uncertainty is 255 times the probability of the runner-up, which
    :mod:`nnstudent.training.losses.distillation` learns from.

    Args:
        task: The task, with its classes and the files of the teachers' uncertainty.
        case: The case.
        raw: Folder to write into.

    Returns:
        Files of runner-up and uncertainty; None if every label of the case is certain.

    Raises:
        GeometryError: A map is on another grid than the image.
    """
    if case.id not in task.uncertainty:
        return None
    probability, runner_up = (read_labels(path) for path in task.uncertainty[case.id])
    grid = read_grid(case.image)
    for volume in (probability, runner_up):
        grid.require(
            volume.grid,
            what="the pseudo-label's uncertainty",
            advice="label and select the case again",
        )
    table = np.full(256, -1, np.int16)
    table[0] = 0
    for channel, name in enumerate(task.classes, 1):
        table[task.taxonomy[name].id] = channel
    other = table[runner_up.array]
    # A runner-up that is not learned leaves the label certain.
    uncertainty = np.where(other < 0, 0, CERTAIN - probability.array)
    paths = tuple(raw / name / f"{case.id}.nii.gz" for name in ("runner_up", "uncertainty"))
    for path, array in zip(paths, (other.clip(0), uncertainty), strict=True):
        write_labels(path, Volume(array.astype(np.uint8), grid))
    return paths[0], paths[1]


def save_with_uncertainty(
    preprocessor: Any,
    target: str,
    images: Sequence[str],
    labels: str,
    plans: Any,
    configuration: Any,
    dataset_json: Any,
    *,
    files: tuple[Path, Path] | None,
) -> None:
    """Do as nnU-Net's ``run_case_save``, with runner-up and uncertainty as channels of the labels.

    Args:
        preprocessor: nnU-Net's preprocessor.
        target: Path to write, without the endings.
        images: Files of the image.
        labels: File of the labels.
        plans: nnU-Net's plans.
        configuration: The configuration of these plans.
        dataset_json: nnU-Net's dataset.json.
        files: Runner-up and uncertainty, from :func:`uncertainty_files`; None if all is certain.
    """
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import comp_blosc2_params
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    image, segmentation, properties = preprocessor.run_case(
        images, labels, plans, configuration, dataset_json
    )
    maps = np.zeros((2, *segmentation.shape[1:]), np.int16)
    if files is not None:
        reader = plans.image_reader_writer_class()
        box = tuple(slice(*part) for part in properties["bbox_used_for_cropping"])
        for channel, path in zip(maps, files, strict=True):
            channel[...] = nearest(reader.read_seg(str(path))[0][0][box], segmentation.shape[1:])
    image = image.astype(np.float32, copy=False)
    targets = np.concatenate([segmentation.astype(np.int16), maps])
    patch = tuple(configuration.patch_size)
    (blocks, chunks), (target_blocks, target_chunks) = (
        comp_blosc2_params(array.shape, patch, array.itemsize) for array in (image, targets)
    )
    nnUNetDatasetBlosc2.save_case(
        image,
        targets,
        properties,
        target,
        chunks=chunks,
        blocks=blocks,
        chunks_seg=target_chunks,
        blocks_seg=target_blocks,
    )


def nearest(array: npt.NDArray[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    """Resample by nearest neighbor onto a grid of this shape that fills the same box.

    Args:
        array: (z, y, x).
        shape: Shape of the result, (z, y, x).
    """
    z, y, x = (neighbors(old, new, 0)[0] for old, new in zip(array.shape, shape, strict=True))
    taken: npt.NDArray[Any] = array[np.ix_(z, y, x)]
    return taken
