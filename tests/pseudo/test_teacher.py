"""Real model folders as teachers, from the folds to the written pseudo-label.

The networks are untrained.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.nifti import read_labels, write_image
from nnstudent.pseudo.ensemble import dice_weights, fold_agreement
from nnstudent.pseudo.label import label
from nnstudent.pseudo.pseudo_label import read_pseudo_label
from nnstudent.pseudo.settings import TeacherOptions
from nnstudent.pseudo.teacher import open_teacher
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.volume import Grid, Volume
from tests.inference.folders import ISOTROPIC, make_folder
from tests.pseudo.conftest import Maker

TABLE = Taxonomy(
    "two",
    (
        LabelClass(1, "liver"),
        LabelClass(2, "kidney"),
        LabelClass(4, "spleen"),
        LabelClass(9, "tumor", kind="lesion"),
    ),
)
SHAPE = (20, 26, 30)
TWO = TeacherOptions(threads=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(
        tmp_path_factory.mktemp("models") / "three",
        ISOTROPIC,
        classes=("liver", "Milz", "bone"),
        folds=(0, 1, 2),
    )


@pytest.fixture(scope="module")
def image() -> Volume:
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 2)
    # On the networks' own grid, so that nothing is resampled and the mean itself can be compared.
    return Volume(
        (60 + 150 * smooth / smooth.std()).astype(np.int16),
        Grid(SHAPE, np.diag([6.0, 6.0, 6.0, 1.0])),
    )


def test_the_mean_of_the_folds_probabilities_decides(folder, image):
    teacher = open_teacher(
        folder, TABLE, mapping={"milz": "spleen"}, options=TeacherOptions("argmax", threads=2)
    )
    assert teacher.classes == ("liver", "spleen")
    predicted = teacher.predict(image)
    members = [scores.probabilities().values for scores in teacher.segmenter.predict_members(image)]
    ids = np.array([0, 1, 4, 0], np.uint8)  # bone is not in the table
    mean = np.mean(members, axis=0)
    np.testing.assert_array_equal(predicted.labels, ids[mean.argmax(0)])
    assert predicted.folds == 3
    votes = fold_agreement([ids[member.argmax(0)] for member in members])
    assert predicted.agreement == {
        "liver": pytest.approx(votes[1]),
        "spleen": pytest.approx(votes[4]),
    }
    assert 0 < predicted.agreement["liver"] < 1
    confident = mean.max(0)[mean.argmax(0) == 2].mean()
    assert predicted.confidence["spleen"] == pytest.approx(confident, rel=1e-4)


def test_labels_of_the_best_expected_dice(folder, image):
    teacher = open_teacher(folder, TABLE, mapping={"milz": "spleen"}, options=TWO)
    ids = np.array([0, 1, 4, 0], np.uint8)
    mean = np.mean(
        [scores.probabilities().values for scores in teacher.segmenter.predict_members(image)],
        axis=0,
    )
    weighted = mean * dice_weights(mean, ids.tolist())[:, None, None, None]
    assert (weighted.argmax(0) != mean.argmax(0)).any()
    predicted = teacher.predict(image)
    np.testing.assert_array_equal(predicted.labels, ids[weighted.argmax(0)])
    assert predicted.confidence == {
        name: pytest.approx(mean[c][weighted.argmax(0) == c].mean(), rel=1e-4)
        for name, c in (("liver", 1), ("spleen", 2))
    }
    assert teacher.settings != replace(teacher, decision="argmax").settings  # labels are made again


def test_the_probability_of_each_label_is_the_mean_of_the_folds(folder, image):
    teacher = open_teacher(folder, TABLE, mapping={"milz": "spleen"}, options=TWO)
    assert teacher.predict(image).uncertainty is None
    predicted = teacher.predict(image, uncertainty=True)
    uncertainty = predicted.uncertainty
    assert uncertainty is not None
    mean = np.mean(
        [scores.probabilities().values for scores in teacher.segmenter.predict_members(image)],
        axis=0,
    )
    by_id = {0: mean[0] + mean[3], 1: mean[1], 4: mean[2]}  # bone counts as background
    expected = np.select([predicted.labels == id for id in by_id], list(by_id.values()))
    assert np.abs(uncertainty.probability - 255 * expected).max() < 0.6
    ids = np.array(list(by_id))
    ranked = ids[
        np.argsort(np.stack(list(by_id.values())), axis=0)
    ]  # the summed channels of background may rank first and lose
    np.testing.assert_array_equal(
        uncertainty.runner_up, np.where(ranked[-1] == predicted.labels, ranked[-2], ranked[-1])
    )


def test_without_a_common_class_the_map_is_asked_for(folder):
    table = Taxonomy("other", (LabelClass(1, "kidney"),))
    with pytest.raises(
        InputError,
        match=r"none of its classes \(liver, milz, bone\) is in the label table other .* --map",
    ):
        open_teacher(folder, table)


def test_label_writes_what_the_teacher_says_and_does_it_once(folder, image, tmp_path):
    maker = Maker(tmp_path, TABLE)
    case = maker.case("a")
    write_image(case.image, image)
    cohort = maker.cohort(case, maker.case("full", TABLE.names))
    done = label(
        cohort, tmp_path / "out", teachers=[folder], mapping={"milz": "spleen"}, options=TWO
    )
    assert done.made == ("a",)
    teacher = open_teacher(folder, TABLE, mapping={"milz": "spleen"}, options=TWO)
    np.testing.assert_array_equal(
        read_labels(tmp_path / "out" / "a.nii.gz").array, teacher.predict(image).labels
    )
    record = read_pseudo_label(tmp_path / "out", "a")
    assert record.models == {"liver": teacher.hash, "spleen": teacher.hash}
    assert record.folds == {"liver": 3, "spleen": 3}
    # By the name in its dataset.json as well as by the tidied one.
    assert (
        label(
            cohort, tmp_path / "out", teachers=[folder], mapping={"Milz": "spleen"}, options=TWO
        ).made
        == ()
    )
    assert label(
        cohort, tmp_path / "out", teachers=[folder], mapping={"milz": "kidney"}, options=TWO
    ).made == ("a",)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [({"milz": "lung"}, "no class 'lung'"), ({"brain": "liver"}, "no model has a class 'brain'")],
)
def test_a_map_that_names_what_is_not_there_is_refused(folder, tmp_path, mapping, message):
    maker = Maker(tmp_path, TABLE)
    with pytest.raises(InputError, match=message):
        label(maker.cohort(maker.case("a")), tmp_path / "out", teachers=[folder], mapping=mapping)


def test_folds_are_summed_on_the_device_where_the_networks_run(
    folder, image, monkeypatch, caplog
) -> None:
    torch = pytest.importorskip("torch")
    teacher = open_teacher(folder, TABLE, options=TeacherOptions(engine="torch", threads=2))
    here = teacher.predict(image)
    for member in range(3):
        teacher.segmenter.engine_of(0, member).sums_on_device = True  # as on CUDA
    monkeypatch.setattr(type(teacher.segmenter), "predict_members", None)
    there = teacher.predict(image)
    assert (there.labels == here.labels).mean() > 0.9999
    assert there.agreement == pytest.approx(here.agreement, abs=1e-4)
    assert there.confidence == pytest.approx(here.confidence, abs=1e-4)
    assert there.folds == here.folds == 3
    monkeypatch.undo()

    def too_large(*_, **__):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr("nnstudent.inference.model_runner.slide_on_device", too_large)
    np.testing.assert_array_equal(teacher.predict(image).labels, here.labels)
    assert "do not fit in the device's memory" in caplog.text


def test_a_teacher_labels_in_the_precision_that_is_asked_for(folder: Path, image: Volume) -> None:
    exact = open_teacher(folder, TABLE, options=TWO)
    fast = open_teacher(folder, TABLE, options=replace(TWO, precision="auto"))
    asked = [teacher.segmenter.made_by["precision"] for teacher in (exact, fast)]
    assert asked == ["fp32", "auto"]
    assert fast.settings == [*exact.settings, "auto"], "labels of the other are not taken for its"
    assert fast.predict(image).labels.shape == SHAPE
    with pytest.raises(InputError, match="precision 'fp64'; expected one of auto, fp32"):
        open_teacher(folder, TABLE, options=replace(TWO, precision="fp64"))
