from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import (
    DownsampleSegForDSTransform,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudent.cohort.cohort import Cohort, write_cohort
from nnstudent.data_files import read_json
from nnstudent.errors import InputError
from nnstudent.training.augment.copy_paste import CopyPaste, cut_lesion, find_place, paste
from nnstudent.training.provenance import task_source
from nnstudent.training.study import study
from nnstudent.training.task import student_task
from tests.training.conftest import tiny_recipe

SHAPE, STEPS = (12, 20, 24), (2, 4, 4)
LIVER, SPLEEN, TUMOR = 1, 2, 3
LEVEL = {0: -1.5, LIVER: 0.5, SPLEEN: 1.0}


def window(
    *, liver: tuple[int, int] = (0, 24), tumor: tuple[int, int, int] | None = None, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fat, a slab of liver along x, one of spleen on top of it in y, and a darker tumor.

    The tumor has 3 voxels and is 0.7 darker than its surroundings.
    """
    noise = torch.randn((1, *SHAPE), generator=torch.Generator().manual_seed(seed)) * 0.02
    labels = torch.zeros(SHAPE, dtype=torch.int16)
    labels[1:-1, 2:14, liver[0] : liver[1]] = LIVER
    labels[1:-1, 14:18] = SPLEEN
    image = noise + sum(level * (labels == label) for label, level in LEVEL.items())
    if tumor is not None:
        z, y, x = (slice(at - 1, at + 2) for at in tumor)
        image[:, z, y, x] -= 0.7
        labels[z, y, x] = TUMOR
    return image, labels


def batch(image: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """As the trainer has it: one sample, labels at two resolutions by nnU-Net's own transform."""
    scales = [[1.0, 1.0, 1.0], [1 / step for step in STEPS]]
    targets = DownsampleSegForDSTransform(scales)(segmentation=labels[None].clone())["segmentation"]
    return image[None].clone(), [target[None].clone() for target in targets]


places = st.tuples(st.integers(4, 7), st.integers(5, 10), st.integers(5, 18))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), tumor=places, edge=st.integers(0, 14))
def test_a_lesion_lies_where_it_could_be_and_keeps_its_contrast(
    seed: int, tumor: tuple[int, int, int], edge: int
) -> None:
    np.random.seed(seed)  # noqa: NPY002
    lesion = cut_lesion(*window(tumor=tumor), [TUMOR])
    assert lesion is not None
    assert (lesion.channel, lesion.host, int(lesion.mask.sum())) == (TUMOR, LIVER, 27)
    image, labels = window(liver=(edge, 24), seed=1)
    box = find_place(lesion, image, labels)
    if box is None:
        return
    after, known = image.clone(), torch.stack([labels, torch.full_like(labels, 9)])
    paste(lesion, after, known, box)
    pasted = known[0] == TUMOR
    assert 0.8 * 27 <= int(pasted.sum()) <= 27
    assert set(labels[pasted].tolist()) == {LIVER}
    assert torch.equal(known[0][~pasted], labels[~pasted])
    assert torch.equal(known[1] == 0, pasted)
    assert torch.equal(after[:, ~pasted], image[:, ~pasted])
    lower = (image - after)[0][pasted]
    assert lower.min() > 0  # softly at the border, wholly in the middle
    assert lower.max() == pytest.approx(0.7, abs=0.15)
    assert lower.mean() < 0.7


def test_it_is_not_laid_where_its_organ_is_not() -> None:
    lesion = cut_lesion(*window(tumor=(5, 8, 8)), [TUMOR])
    assert lesion is not None
    assert find_place(lesion, *window(liver=(0, 0))) is None


def test_what_is_ignored_around_a_lesion_is_not_what_it_lies_in() -> None:
    image, labels = window(tumor=(5, 8, 8))
    assert (
        cut_lesion(image, torch.where(labels == TUMOR, TUMOR, 7).to(labels), [TUMOR], ignore=7)
        is None
    )
    around = torch.where(
        (labels == LIVER) & (torch.arange(labels.shape[0])[:, None, None] < 7), 7, labels
    ).to(labels)
    lesion = cut_lesion(image, around, [TUMOR], ignore=7)
    assert lesion is not None
    assert lesion.host == LIVER


def test_outside_of_organs_it_is_laid_into_tissue_as_dense() -> None:
    image, labels = window(tumor=(5, 8, 8))
    labels[labels != TUMOR] = 0  # a tumor model knows no organ
    lesion = cut_lesion(image, labels, [TUMOR])
    assert lesion is not None
    assert lesion.host == 0
    image, labels = window(seed=1)
    for seed in range(20):
        np.random.seed(seed)  # noqa: NPY002
        box = find_place(lesion, image, torch.zeros_like(labels))
        if box is not None:
            assert (
                float((labels[box][lesion.mask] != 0).float().mean()) >= 0.8
            )  # not in the fat, though all of it is background
    assert find_place(lesion, torch.full_like(image, -9.0), torch.zeros_like(labels)) is None


def test_a_lesion_that_the_window_cuts_is_not_taken() -> None:
    image, labels = window(tumor=(5, 8, 23 - 1))
    assert cut_lesion(image, labels, [TUMOR]) is None
    assert cut_lesion(*window(), [TUMOR]) is None


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 9999))
def test_every_resolution_of_the_loss_sees_the_same(seed: int) -> None:
    np.random.seed(seed)  # noqa: NPY002
    work = CopyPaste(1.0)
    work(*batch(*window(tumor=(5, 8, 8))), true=[[TUMOR]], closed=[[TUMOR]])
    image, targets = batch(*window(seed=1))
    work(image, targets, true=[[]], closed=[[TUMOR]])
    _, expected = batch(image[0], targets[0][0, 0])
    for target, other in zip(targets, expected, strict=True):
        assert torch.equal(target, other)


@pytest.mark.parametrize(
    ("true", "closed", "pasted"),
    [([TUMOR], [TUMOR], True), ([], [TUMOR], False), ([TUMOR], [], False)],
)
def test_only_truth_is_taken_and_nothing_given_to_who_leaves_lesions_open(
    true: list[int], closed: list[int], pasted: bool
) -> None:
    np.random.seed(0)  # noqa: NPY002
    work = CopyPaste(1.0)
    work(*batch(*window(tumor=(5, 8, 8))), true=[true], closed=[[TUMOR]])
    seen = False
    for seed in range(10):
        before = window(seed=seed)
        image, targets = batch(*before)
        work(image, targets, true=[[]], closed=[closed])
        seen |= bool((targets[0] == TUMOR).any())
        assert torch.equal(image[0], before[0]) == (not (targets[0] == TUMOR).any())
    assert seen == pasted


def test_off_nothing_changes_and_p_is_a_probability(balls: Cohort, tmp_path: Path) -> None:
    assert tiny_recipe().training.copy_paste == 0
    with pytest.raises(InputError, match="copy_paste = 2"):
        tiny_recipe(copy_paste=2.0)
    task = student_task(balls, tiny_recipe(), organs_only=False, pseudo={})
    source = task_source(task, tmp_path / "hashes.json")
    assert "lesion_truth" not in source
    assert "copy_paste" not in source["recipe"]["training"]


def test_a_student_takes_lesions_from_truth_only(balls: Cohort, tmp_path: Path) -> None:
    recipe = tiny_recipe(partial="marginal", copy_paste=1.0, cutmix=0.5, epochs=1, iterations=6)
    write_cohort(tmp_path / "fused", balls)
    (tmp_path / "fused" / "ledger.jsonl").write_text(
        json.dumps({"case": "c", "class": "spot", "origin": "pseudo"}) + "\n"
    )
    model = study(tmp_path / "fused", tmp_path / "student", recipe)
    assert read_json(model / "dataset.json", what="a model")["nnstudent"]["lesion_truth"] == {
        "d": [3]
    }
    curves = json.loads((model / "fold_0" / "progress.json").read_text())
    assert all(math.isfinite(value) for value in curves["train_loss"])
