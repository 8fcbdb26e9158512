"""What the stages of a run share: its paths, its models, its rounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.errors import InputError
from nnstudent.io.parts import Part
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.preset import SelectSettings, load_preset
from nnstudent.pipeline.rounds import SETTLED, Round
from nnstudent.taxonomy import flare23


def run_folder(folder: Path, **how: object) -> RunFolder:
    return RunFolder(folder / "scans", folder / "RUN", load_preset("demo"), **how)  # type: ignore[arg-type]


def write_cases(run: RunFolder, *annotated: str) -> None:
    """A cohort of one training case with these classes annotated, and one to test on."""
    cases = (
        Case("a", run.source / "a.nii.gz", run.source / "l.nii.gz", frozenset(annotated), True),
        Case("b", run.source / "b.nii.gz", role="test"),
    )
    write_cohort(run.out / "cohort", Cohort(flare23(), cases))


def test_numbers_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 threads; expected at least 1"):
        run_folder(tmp_path, threads=0)
    with pytest.raises(InputError, match="0 rounds; expected at least 1"):
        run_folder(tmp_path, round_count=0)


def test_there_are_no_files_before_index_has_run(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    assert run.files("train") == []
    write_cases(run, "liver")
    assert [path.name for path in run.files("train")] == ["a.nii.gz", "l.nii.gz"]
    assert [path.name for path in run.files("test")] == ["b.nii.gz"]


def test_a_tumor_model_counts_only_where_tumors_are_annotated(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    write_cases(run, "liver")
    assert [path.name for path in run.teacher_models()] == ["organs"]
    write_cases(run, "liver", "tumor")
    assert [path.name for path in run.teacher_models()] == ["organs", "tumor"]


def test_a_student_of_organs_is_not_labeled_for_by_the_tumor_model(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    write_cases(run, "liver", "tumor")
    run.preset = replace(run.preset, one_student=False)
    assert [path.name for path in run.tumor_models()] == ["tumor"]
    assert [path.name for path in run.labelers()] == ["organs"]
    run.preset = replace(run.preset, one_student=True)
    assert run.tumor_models() == []
    assert [path.name for path in run.labelers()] == ["organs", "tumor"]
    # The last decides on organs, which the tumor model knows too.
    run.preset = replace(run.preset, tumor_organs=True)
    assert [path.name for path in run.labelers()] == ["tumor", "organs"]


def test_models_that_are_given_are_the_teachers(tmp_path: Path) -> None:
    given = [tmp_path / "theirs"]
    run = run_folder(tmp_path, given=given)
    assert run.teacher_files == run.teacher_models() == run.labelers() == given


def test_there_are_no_more_parts_than_cases(tmp_path: Path) -> None:
    assert run_folder(tmp_path).parts("train") == ()
    assert len(run_folder(tmp_path, jobs=3).parts("train")) == 3
    run = run_folder(tmp_path, jobs=3, sizes={"train": 2, "test": 1})
    assert run.parts("train") == (Part(1, 2), Part(2, 2))
    assert run.parts("test") == ()
    assert len(run.parts("train", "test")) == 3


def test_the_probability_is_kept_for_who_needs_it(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    student = run.preset.student
    for ignore_below, distill, keeps in ((0, 0, False), (0.5, 0, True), (0, 0.5, True)):
        run.preset = replace(
            run.preset,
            select=SelectSettings(ignore_below=ignore_below),
            student=replace(student, training=replace(student.training, distill=distill)),
        )
        assert run.keeps_probability == keeps


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """How much each round changed, which the test says."""
    by_round: dict[int, float] = {}
    monkeypatch.setattr(Round, "change", lambda self, _: by_round.get(self.number))
    return by_round


def test_what_comes_after_labels_that_settled_has_nothing_to_do(
    tmp_path: Path, changes: dict[int, float]
) -> None:
    run = run_folder(tmp_path, round_count=4)
    first, second, third, _ = run.rounds
    changes |= {2: 2 * SETTLED, 3: SETTLED / 2, 4: SETTLED / 2}
    assert run.settled_round() == third
    assert run.settled_by(first) is None
    assert run.settled_by(second) is None, "the third round still labels"
    nothing = run.settled_by(third)
    assert nothing is not None
    assert nothing.skipped
    assert nothing.detail == "the labels hardly changed in round 3"
    assert run.last_round() == second
    assert run.student == run.out / "round2" / "student"


def test_where_labels_keep_changing_the_last_round_counts(
    tmp_path: Path, changes: dict[int, float]
) -> None:
    run = run_folder(tmp_path, round_count=2)
    changes[2] = 0.5
    assert run.settled_round() is None
    assert run.settled_by(run.rounds[-1]) is None
    assert run.last_round() == run.rounds[-1]
    assert run.round_before(run.rounds[-1]) == run.rounds[0]
    assert run.round_before(run.rounds[0]) is None
