"""Labeling with teachers that threshold the image: which are asked, which one decides, what is
written, and what is done again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnstudent.cohort.uncertainty import (
    Uncertainty,
    probability_path,
    read_probability,
    runner_up_path,
)
from nnstudent.errors import InputError, OutputError
from nnstudent.io.nifti import read_grid, read_image, read_labels, write_image
from nnstudent.pseudo.ensemble import fold_agreement
from nnstudent.pseudo.label import label_cases
from nnstudent.pseudo.pseudo_label import Prediction, read_pseudo_label
from nnstudent.pseudo.settings import LabelSettings
from nnstudent.volume import Volume
from tests.pseudo.conftest import GRID, Maker


class Threshold:
    """Calls every voxel above a limit its class; its folds differ in the limit."""

    settings = "none"

    def __init__(self, taxonomy, name: str, *limits: float, hash: str = "h") -> None:
        self.classes, self.hash = (name,), hash
        self._id, self._limits = taxonomy[name].id, limits
        self.calls = 0

    def predict(self, image: Volume, *, uncertainty=False, progress=None) -> Prediction:
        self.calls += 1
        certain = (
            Uncertainty(
                (np.abs(image.array) % 256).astype(np.uint8),
                np.full(image.array.shape, 9, np.uint8),
            )
            if uncertainty
            else None
        )
        folds = [(image.array > limit).astype(np.uint8) * self._id for limit in self._limits]
        name = self.classes[0]
        record = dict(zip(self.classes, fold_agreement(folds).values(), strict=False))
        return Prediction(folds[0], {name: 0.8}, record, len(folds), certain)


def test_each_case_is_labeled_by_those_who_know_what_it_lacks(maker: Maker, toy, tmp_path):
    cases = [maker.case("none"), maker.case("liver", ("liver",))]
    liver, kidney = Threshold(toy, "liver", 0, 50), Threshold(toy, "kidney", 100, hash="k")
    result = label_cases(cases, tmp_path / "out", teachers=[liver, kidney], taxonomy=toy)
    assert result.made == ("none", "liver")
    assert (liver.calls, kidney.calls) == (1, 2)
    image = read_image(cases[0].image).array
    written = read_labels(tmp_path / "out" / "none.nii.gz")
    assert written.grid.matches(read_grid(cases[0].image))
    np.testing.assert_array_equal(
        written.array, np.where(image > 100, 2, np.where(image > 0, 1, 0))
    )
    record = read_pseudo_label(tmp_path / "out", "none")
    assert record.classes == ("liver", "kidney")
    assert record.models == {"liver": "h", "kidney": "k"}
    assert record.confidence == {"liver": 0.8, "kidney": 0.8}
    pair = fold_agreement([(image > limit).astype(np.uint8) for limit in (0, 50)])[1]
    assert record.agreement == {"liver": round(pair, 4)}
    assert record.folds == {"liver": 2, "kidney": 1}
    assert record.volume_ml["kidney"] == pytest.approx(
        (image > 100).sum() * GRID.voxel_ml, abs=1e-3
    )
    assert read_pseudo_label(tmp_path / "out", "liver").classes == ("kidney",)


def test_a_later_model_replaces_the_earlier_for_what_it_knows(maker: Maker, toy, tmp_path):
    case = maker.case("none")
    first, second = (
        Threshold(toy, "liver", -100, hash="first"),
        Threshold(toy, "liver", 100, hash="second"),
    )
    label_cases([case], tmp_path / "out", teachers=[first, second], taxonomy=toy)
    np.testing.assert_array_equal(
        read_labels(tmp_path / "out" / "none.nii.gz").array == 1, read_image(case.image).array > 100
    )
    assert read_pseudo_label(tmp_path / "out", "none").models == {"liver": "second"}


def test_what_is_made_is_not_made_again_unless_image_or_model_changed(maker: Maker, toy, tmp_path):
    cases = [maker.case("a"), maker.case("b")]
    out = tmp_path / "out"
    teacher = Threshold(toy, "liver", 0)
    assert label_cases(cases, out, teachers=[teacher], taxonomy=toy).made == ("a", "b")
    again = label_cases(cases, out, teachers=[teacher], taxonomy=toy)
    assert again.made == ()
    assert [item.case for item in again.labels] == ["a", "b"]
    cases[1] = maker.case("b")  # drawn anew
    assert label_cases(cases, out, teachers=[teacher], taxonomy=toy).made == ("b",)
    assert label_cases(
        cases, out, teachers=[Threshold(toy, "liver", 0, hash="new")], taxonomy=toy
    ).made == (
        "a",
        "b",
    )
    (out / "a.nii.gz").unlink()
    assert label_cases(
        cases, out, teachers=[Threshold(toy, "liver", 0, hash="new")], taxonomy=toy
    ).made == ("a",)


def test_a_broken_case_is_named_and_the_others_are_done(maker: Maker, toy, tmp_path):
    cases = [maker.case("bad"), maker.case("good")]
    cases[0].image.write_bytes(cases[0].image.read_bytes()[:600])
    result = label_cases(
        cases, tmp_path / "out", teachers=[Threshold(toy, "liver", 0)], taxonomy=toy
    )
    assert result.made == ("good",)
    assert result.failures[0].case == "bad"
    assert "the file is truncated or damaged" in result.failures[0].reason
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == [
        "good.json",
        "good.nii.gz",
    ]


def test_a_case_of_which_only_the_header_was_read_is_checked_when_it_is_labeled(
    maker: Maker, toy, tmp_path, caplog
):
    cases = [replace(maker.case(id), checked=False) for id in ("flat", "map", "odd", "good")]
    odd = maker.rng.integers(5000, 9000, GRID.shape)
    for case, values in zip(cases, (np.full(GRID.shape, 7), maker.labels(), odd), strict=False):
        write_image(case.image, Volume(values.astype(np.int16), GRID))
    teacher = Threshold(toy, "liver", 0)
    result = label_cases(cases, tmp_path / "out", teachers=[teacher], taxonomy=toy)
    assert result.made == ("odd", "good")
    reasons = {failure.case: failure.reason for failure in result.failures}
    assert "every voxel is 7; expected a CT" in reasons["flat"]
    assert "a label map; expected a CT in HU" in reasons["map"]
    assert "odd: does not look like CT in HU" in caplog.text
    again = [replace(case, checked=True) for case in cases]
    assert len(label_cases(again, tmp_path / "all", teachers=[teacher], taxonomy=toy).made) == 4


def test_a_folder_that_cannot_be_written_stops_at_once(maker: Maker, toy, tmp_path):
    (tmp_path / "out").write_text("a file")
    teacher = Threshold(toy, "liver", 0)
    with pytest.raises(OutputError, match="cannot be written"):
        label_cases(
            [maker.case("a"), maker.case("b")], tmp_path / "out", teachers=[teacher], taxonomy=toy
        )
    assert teacher.calls == 0


def test_how_probable_each_label_is_comes_beside_it_when_asked(maker: Maker, toy, tmp_path):
    case, out = maker.case("none"), tmp_path / "out"
    teachers = [Threshold(toy, "liver", 0), Threshold(toy, "kidney", 100, hash="k")]
    label_cases([case], out, teachers=teachers, taxonomy=toy)
    assert not probability_path(out, "none").exists()
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert label_cases(
        [case], out, teachers=teachers, taxonomy=toy, settings=LabelSettings(uncertainty=True)
    ).made == ("none",)
    assert before == {
        path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()
    }  # the label is left as it was
    written = read_probability(out, "none")
    assert written.grid.matches(read_grid(case.image))
    np.testing.assert_array_equal(written.array, np.abs(read_image(case.image).array) % 256)
    assert read_labels(runner_up_path(out, "none")).array.max() == 9
    assert (
        label_cases(
            [case], out, teachers=teachers, taxonomy=toy, settings=LabelSettings(uncertainty=True)
        ).made
        == ()
    )
    assert label_cases([case], out, teachers=teachers, taxonomy=toy).made == ()
    runner_up_path(out, "none").unlink()
    assert label_cases(
        [case], out, teachers=teachers, taxonomy=toy, settings=LabelSettings(uncertainty=True)
    ).made == ("none",)
    label_cases([case], out, teachers=[Threshold(toy, "liver", 0, hash="new")], taxonomy=toy)
    with pytest.raises(InputError, match="run label with --probability"):
        read_probability(out, "none")  # the map of another label says nothing about this one


def test_a_later_round_tells_how_much_has_changed(maker: Maker, toy, tmp_path):
    cases = [maker.case("none"), maker.case("liver", ("liver",)), maker.case("late")]
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    at = read_image(cases[0].image).array
    kidney = Threshold(toy, "kidney", 150)
    label_cases(cases[:2], first, teachers=[Threshold(toy, "liver", 0), kidney], taxonomy=toy)
    again = label_cases(
        cases,
        second,
        teachers=[Threshold(toy, "liver", 50, hash="2"), kidney],
        taxonomy=toy,
        settings=LabelSettings(round=2, previous=first),
    )
    record = read_pseudo_label(second, "none")
    assert record.changes == (
        pytest.approx(((at > 0) & (at <= 50)).sum() / (at > 0).sum(), abs=1e-5),
    )
    between = {
        "liver": ((at > 0) & (at <= 50)).sum() / ((at > 0) & (at <= 150)).sum(),
        "kidney": 0.0,
    }
    assert record.class_change == pytest.approx(between, abs=1e-5)
    assert read_pseudo_label(second, "liver").class_change == {
        "kidney": 0.0
    }  # what is annotated is not asked for
    assert read_pseudo_label(second, "late").mean_change is None
    assert again.mean_change == pytest.approx(record.changes[0] / 2)

    teachers = [Threshold(toy, "liver", 100, hash="3"), kidney]
    label_cases(cases, third, teachers=teachers, taxonomy=toy, settings=LabelSettings(round=3))
    calls = teachers[0].calls
    assert (
        label_cases(
            cases,
            third,
            teachers=teachers,
            taxonomy=toy,
            settings=LabelSettings(round=3, previous=second),
        ).made
        == ()
    )
    assert teachers[0].calls == calls  # only compared
    last = read_pseudo_label(third, "none")
    step = ((at > 50) & (at <= 100)).sum() / (at > 50).sum()
    assert last.changes == (record.changes[0], pytest.approx(step, abs=1e-5))
    assert last.mean_change == pytest.approx((record.changes[0] + step) / 2, abs=1e-5)
    mean = (
        between["liver"] + ((at > 50) & (at <= 100)).sum() / ((at > 50) & (at <= 150)).sum()
    ) / 2
    assert last.class_change["liver"] == pytest.approx(mean, abs=1e-5)
