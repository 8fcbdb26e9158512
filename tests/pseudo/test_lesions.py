"""Lesions of a pseudo-label, each accepted or left open by the agreement of the folds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.errors import InputError
from nnstudent.inference.grid.preprocess import preprocess
from nnstudent.io.nifti import read_labels, write_image, write_labels
from nnstudent.pseudo.ensemble import combine_folds
from nnstudent.pseudo.label import label
from nnstudent.pseudo.lesions import Lesion, lesions_of, unsure_lesions
from nnstudent.pseudo.pseudo_label import pseudo_label_paths, read_pseudo_label
from nnstudent.pseudo.select import select
from nnstudent.pseudo.selection import SelectSettings
from nnstudent.pseudo.settings import TeacherOptions
from nnstudent.pseudo.teacher import open_teacher
from nnstudent.serialization import to_plain
from nnstudent.taxonomy import IGNORE, LabelClass, Taxonomy
from nnstudent.volume import Grid, Volume
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder
from tests.pseudo.conftest import GOOD, GRID, SHAPE, TOY, Maker

TUMOR = 3


def test_votes_are_counted_for_lesions_only() -> None:
    folds = [np.zeros((3, 1, 1, 3), np.float32) for _ in range(3)]
    for fold, channels in zip(folds, ((2, 2, 1), (2, 0, 1), (0, 0, 2)), strict=True):
        fold[list(channels), 0, 0, range(3)] = 1
    assert combine_folds(folds, (0, 1, TUMOR)).lesions is None
    votes = combine_folds(folds, (0, 1, TUMOR), lesions=[TUMOR]).lesions
    assert votes is not None
    assert votes.ravel().tolist() == [2, 1, 1]


def test_each_lesion_has_the_agreement_of_the_folds_within_it() -> None:
    labels = np.zeros((4, 6, 8), np.uint8)
    labels[1:3, 1:3, 1:3], labels[1:3, 1:3, 5:7] = TUMOR, TUMOR
    labels[0, 5, :] = 1
    image = Volume(np.zeros(labels.shape, np.int16), Grid(labels.shape, np.diag([2, 2, 2, 1.0])))
    _, frame = preprocess(image, _plain_spec((2.0, 2.0, 2.0)))
    share = np.zeros(labels.shape)
    share[1:3, 1:3, 1:3], share[1:3, 1:3, 5] = 1.0, 0.5
    first, second = lesions_of(
        Volume(labels, image.grid), share, frame=frame, ids=[TUMOR], taxonomy=TOY
    )
    assert first == Lesion("tumor", (1, 1, 1), pytest.approx(0.064), 1.0)
    assert second == Lesion("tumor", (1, 1, 5), pytest.approx(0.064), 0.25)
    unsure = unsure_lesions(labels, [first, second], least=0.5, taxonomy=TOY)
    assert np.argwhere(unsure).min(axis=0).tolist() == [1, 1, 5]
    assert unsure.sum() == 8
    assert not unsure_lesions(labels, [], least=0.5, taxonomy=TOY).any()


def _plain_spec(spacing_mm: tuple[float, float, float]) -> NetworkSpec:
    return replace(open_model().networks[0].spec, spacing_mm=spacing_mm)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(
        tmp_path_factory.mktemp("models") / "three",
        ISOTROPIC,
        classes=("liver", "tumor"),
        folds=(0, 1, 2),
    )


TABLE = Taxonomy("two", (LabelClass(1, "liver"), LabelClass(9, "tumor", kind="lesion")))


def test_a_teacher_says_how_its_folds_agree_on_each_lesion(folder: Path, tmp_path: Path) -> None:
    maker = Maker(tmp_path, TABLE)
    case = maker.case("a")
    image = blobs((20, 26, 30), (6.0, 6.0, 6.0))
    write_image(case.image, image)
    options = TeacherOptions("argmax", threads=2)
    label(maker.cohort(case), tmp_path / "out", teachers=[folder], options=options)
    record = read_pseudo_label(tmp_path / "out", "a")
    assert record is not None
    assert record.lesions
    teacher = open_teacher(folder, TABLE, options=options)
    folds = [
        scores.probabilities().values.argmax(0) == 2
        for scores in teacher.segmenter.predict_members(image)
    ]
    labels = read_labels(tmp_path / "out" / "a.nii.gz").array
    for lesion in record.lesions:
        assert labels[lesion.at] == 9
        assert 0 <= lesion.agreement <= 1
    # The network's grid is the image's, so the mean over all lesions can be compared.
    sizes = np.array([lesion.ml for lesion in record.lesions])
    mean = np.average([lesion.agreement for lesion in record.lesions], weights=sizes)
    assert mean == pytest.approx(np.mean(folds, axis=0)[labels == 9].mean(), abs=1e-3)


@pytest.mark.parametrize("annotated", [(), ("liver",), ("tumor",)])
def test_lesions_that_the_folds_dispute_are_left_open(
    tmp_path: Path, annotated: tuple[str, ...]
) -> None:
    maker = Maker(tmp_path, TOY)
    case = maker.case("a", annotated)
    maker.pseudo_label("a", GOOD)
    path, record = pseudo_label_paths(maker.pseudo, "a")
    labels = np.ones(SHAPE, np.uint8)
    labels[1:3, 1:3, 1:3] = labels[1:3, 5:7, 6:8] = TUMOR
    write_labels(path, Volume(labels, GRID))
    data = json.loads(record.read_text())
    lesions = [Lesion("tumor", (1, 1, 1), 1.0, 0.9), Lesion("tumor", (1, 5, 6), 1.0, 0.3)]
    record.write_text(json.dumps({**data, "lesions": to_plain(lesions)}))
    cohort = maker.cohort(case)
    plain = select(cohort, maker.pseudo, tmp_path / "plain")
    out = tmp_path / "out"
    strict = select(cohort, maker.pseudo, out, settings=SelectSettings(min_lesion_agreement=0.5))
    assert not plain.ignored["a"]
    before, after = (
        read_labels(next((tmp_path / name).rglob("labels*/a.nii.gz"))).array
        for name in ("plain", "out")
    )
    open_ = after != before
    if annotated == ("tumor",):  # somebody looked
        assert not open_.any()
        return
    assert np.argwhere(open_).min(axis=0).tolist() == [1, 5, 6]
    assert open_.sum() == 8
    assert (before[open_] == TUMOR).all()
    assert strict.ignored["a"] == pytest.approx(8 / labels.size, abs=1e-6)
    assert (read_labels(out / "labels" / "a.nii.gz").array[open_] == IGNORE).all()


def test_an_agreement_beyond_1_is_refused() -> None:
    with pytest.raises(InputError, match="min_lesion_agreement"):
        SelectSettings(min_lesion_agreement=1.5)
