from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnstudent.cohort.cohort import Case, Cohort, read_cohort, write_cohort
from nnstudent.errors import Failure, InputError
from nnstudent.taxonomy import flare23
from tests.cohort.conftest import ORGANS


def test_a_cohort_moves_with_its_folder(tmp_path):
    case = Case(
        "a", tmp_path / "C/images/a.nii.gz", tmp_path / "C/labels/a.nii.gz", frozenset({"liver"})
    )
    far = Case("b", Path("/far/away/b.nii.gz"), role="test")
    write_cohort(tmp_path / "C", Cohort(flare23(), (case, far), (Failure("x", "why"),)))
    (tmp_path / "C").rename(tmp_path / "D")
    moved = read_cohort(tmp_path / "D")
    assert moved["a"].image == tmp_path / "D/images/a.nii.gz"
    assert moved["b"].image == far.image
    assert moved.broken == (Failure("x", "why"),)


def test_a_cohort_behind_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_cohort(tmp_path / "link", Cohort(flare23(), (Case("a", tmp_path / "link/a.nii.gz"),)))
    assert (
        json.loads((tmp_path / "real/cohort.json").read_text())["cases"][0]["image"] == "a.nii.gz"
    )


def test_cases_by_annotated_classes_and_role():
    image, label = Path("i"), Path("l")
    cohort = Cohort(
        flare23(),
        (
            Case("full", image, label, frozenset(ORGANS)),
            Case("tumor", image, label, frozenset({"liver", "tumor"})),
            Case("bare", image),
            Case("test", image, label, frozenset(ORGANS), role="test"),
        ),
    )
    assert [case.id for case in cohort.annotated_with(ORGANS)] == ["full"]
    assert [case.id for case in cohort.annotated_with(["tumor"])] == ["tumor"]
    assert cohort.annotated_with([]) == ()
    assert [case.id for case in cohort.not_fully_annotated(ORGANS)] == ["tumor", "bare"]
    assert [case.id for case in cohort.test()] == ["test"]
    with pytest.raises(InputError, match="no case 'nobody'"):
        cohort["nobody"]


@pytest.mark.parametrize("id", ["", "a/b", "..", "-x", "a b", "a\n", ".hidden", "ä"])
def test_ids_that_cannot_name_a_file_are_refused(id):
    with pytest.raises(InputError, match="case id"):
        Case(id, Path("i"))


def test_invalid_cases_and_cohorts_are_refused():
    with pytest.raises(InputError, match="occurs twice"):
        Cohort(flare23(), (Case("a", Path("i")), Case("A", Path("i"))))
    with pytest.raises(InputError, match="no class"):
        Cohort(flare23(), (Case("a", Path("i"), Path("l"), frozenset({"heart"})),))
    with pytest.raises(InputError, match="no label map"):
        Case("a", Path("i"), annotated=frozenset({"liver"}))
    with pytest.raises(InputError, match="expected train or test"):
        Case("a", Path("i"), role="validation")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"schema": 2}',
        '{"schema": 1, "taxonomy": [], "cases": [], "broken": []}',
        '{"schema": 1, "cases": [3]}',
    ],
)
def test_malformed_files_are_refused(tmp_path, content):
    (tmp_path / "cohort.json").write_text(content)
    with pytest.raises(InputError, match=r"cohort\.json"):
        read_cohort(tmp_path)


def test_a_folder_without_cohort(tmp_path):
    with pytest.raises(InputError, match="make one with: nnstudent index"):
        read_cohort(tmp_path)
