"""What the teachers think of each voxel, carried through nnU-Net's preprocessing beside the labels."""

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

CERTAIN = 255


def doubt_files(task: Task, case: Case, raw: Path) -> tuple[Path, Path] | None:
    """Write a case's runner-up and doubt as :mod:`nnstudent.training.losses.distillation` wants them; None where nothing is doubted.

    Args:
        task: Says which classes, and where the teachers' word is.
        case: The case.
        raw: Folder to write into.

    Raises:
        GeometryError: A map is on another grid than the image.
    """
    if case.id not in task.doubt:
        return None
    probability, runner_up = (read_labels(path) for path in task.doubt[case.id])
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
    doubt = np.where(
        other < 0, 0, CERTAIN - probability.array
    )  # against a class that is not learned nothing is doubted
    paths = raw / "runner_up" / f"{case.id}.nii.gz", raw / "doubt" / f"{case.id}.nii.gz"
    for path, array in zip(paths, (other.clip(0), doubt), strict=True):
        write_labels(path, Volume(array.astype(np.uint8), grid))
    return paths


def save_with_doubt(
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
    """As nnU-Net's ``run_case_save``, with runner-up and doubt as second and third channel of the labels.

    Args:
        preprocessor: nnU-Net's.
        target: What is written, without the endings.
        images: Files of the image.
        labels: File of the labels.
        plans: nnU-Net's plans.
        configuration: Of these.
        dataset_json: nnU-Net's dataset.json.
        files: Of runner-up and doubt, from :func:`doubt_files`; None where nothing is doubted.
    """
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import comp_blosc2_params
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    image, segmentation, properties = preprocessor.run_case(
        images, labels, plans, configuration, dataset_json
    )
    doubted = np.zeros((2, *segmentation.shape[1:]), np.int16)
    if files is not None:
        reader = plans.image_reader_writer_class()
        box = tuple(slice(*part) for part in properties["bbox_used_for_cropping"])
        for channel, path in zip(doubted, files, strict=True):
            channel[...] = nearest(reader.read_seg(str(path))[0][0][box], segmentation.shape[1:])
    image, told = (
        image.astype(np.float32, copy=False),
        np.concatenate([segmentation.astype(np.int16), doubted]),
    )
    patch = tuple(configuration.patch_size)
    (blocks, chunks), (blocks_told, chunks_told) = (
        comp_blosc2_params(array.shape, patch, array.itemsize) for array in (image, told)
    )
    nnUNetDatasetBlosc2.save_case(
        image,
        told,
        properties,
        target,
        chunks=chunks,
        blocks=blocks,
        chunks_seg=chunks_told,
        blocks_seg=blocks_told,
    )


def nearest(array: npt.NDArray[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    """The nearest voxel of each of a grid of this shape that fills the same box."""
    z, y, x = (neighbors(old, new, 0)[0] for old, new in zip(array.shape, shape, strict=True))
    taken: npt.NDArray[Any] = array[np.ix_(z, y, x)]
    return taken
