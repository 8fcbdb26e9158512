from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnstudent.cohort.cohort import Cohort, read_cohort
from nnstudent.cohort.index import index
from nnstudent.errors import InputError, OutputError
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.volume import Grid
from tests.cohort.conftest import GRID, ORGANS, SHAPE, Files
from tests.io.test_nifti import BROKEN

ALL = range(1, 14)


def cohort_of(*places: Path, **options) -> Cohort:
    return index(*places, **options).cohort


def listed(files: Files, *rows: str) -> Path:
    return files.text("cases.csv", "\n".join(["id,image,label,annotated,role", *rows]))


@pytest.fixture
def four(files: Files) -> Path:
    """Four cases: fully labeled, declared full without a gallbladder, partial, unlabeled."""
    files.ct("full.nii.gz"), files.label("full_l.nii.gz", ALL)
    files.ct("operated.nii.gz"), files.label("operated_l.nii.gz", [id for id in ALL if id != 9])
    files.ct("partial.nii.gz"), files.label("partial_l.nii.gz", [1, 2, 14])
    files.ct("bare.nii.gz")
    return listed(
        files,
        "full,full.nii.gz,full_l.nii.gz,,",
        "operated,operated.nii.gz,operated_l.nii.gz,organs,",
        "partial,partial.nii.gz,partial_l.nii.gz,,",
        "bare,bare.nii.gz,,,",
    )


def test_annotated_classes_are_declared_or_inferred(four: Path, tmp_path: Path):
    cohort = cohort_of(four, tmp_path / "C")
    assert {case.id: (set(case.annotated), case.declared) for case in cohort} == {
        "full": (set(ORGANS), False),
        "operated": (set(ORGANS), True),
        "partial": ({"liver", "right_kidney", "tumor"}, False),
        "bare": (set(), False),
    }
    assert [case.id for case in cohort.annotated_with(ORGANS)] == ["full", "operated"]
    assert [case.id for case in cohort.annotated_with(["tumor"])] == ["partial"]
    assert [case.id for case in cohort.not_fully_annotated(ORGANS)] == ["partial", "bare"]
    assert read_cohort(tmp_path / "C") == cohort


def test_annotated_can_be_overridden(four: Path, tmp_path: Path):
    overrides = {
        "part*": ["organs"],
        "partial": ["liver", "tumor"],
        "operated": ["infer"],
        "full": ["all", "-tumor", "-spleen"],
    }
    said = {case.id: case for case in cohort_of(four, tmp_path / "C", annotated=overrides)}
    assert said["partial"].annotated == {"liver", "tumor"}
    assert said["operated"].annotated == set(ORGANS) - {"gallbladder"}
    assert not said["operated"].declared
    assert said["full"].annotated == set(ORGANS) - {"spleen"}
    assert said["full"].declared


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"nobody": ["all"]}, "no such case"),
        ({"full": ["heart"]}, "no class 'heart'"),
        ({"x*": ["all"]}, "no such case"),
    ],
)
def test_overrides_that_match_nothing_are_refused(four: Path, tmp_path: Path, overrides, said):
    with pytest.raises(InputError, match=said):
        cohort_of(four, tmp_path / "C", annotated=overrides)
    assert not (tmp_path / "C").exists()


def test_a_case_without_label_cannot_be_annotated(four: Path, tmp_path: Path):
    cohort = cohort_of(four, tmp_path / "C", annotated={"bare": ["all"]})
    assert [failure.case for failure in cohort.broken] == ["bare"]
    assert "has no label map" in cohort.broken[0].reason


def test_broken_cases_are_named_and_the_others_stay(files: Files, tmp_path: Path):
    files.ct("good.nii.gz"), files.label("good_l.nii.gz", ALL)
    files.label(
        "shifted.nii.gz",
        [1],
        grid=Grid(SHAPE, GRID.affine + np.diag([0, 0, 0, 0]) + np.eye(4, k=3) * 40),
    )
    files.label("smaller.nii.gz", [1], grid=Grid((8, 10, 11), GRID.affine))
    files.label("alien.nii.gz", [1, 15, 77])
    files.text("text.nii.gz", "no image")
    files.text("empty.nii.gz", "")
    cohort = cohort_of(
        listed(
            files,
            "good,good.nii.gz,good_l.nii.gz,,",
            "missing,none.nii.gz,,,",
            "text,text.nii.gz,,,",
            "empty,empty.nii.gz,,,",
            "shifted,good.nii.gz,shifted.nii.gz,,",
            "smaller,good.nii.gz,smaller.nii.gz,,",
            "alien,good.nii.gz,alien.nii.gz,,",
            "no_label,good.nii.gz,none.nii.gz,,",
            "../evil,good.nii.gz,,,",
            "wrong,good.nii.gz,good_l.nii.gz,heart,",
        ),
        tmp_path / "C",
    )
    assert [case.id for case in cohort] == ["good"]
    reasons = {failure.case: failure.reason for failure in cohort.broken}
    assert "no such file" in reasons["missing"]
    assert "cannot be opened" in reasons["text"]
    assert "is empty" in reasons["empty"]
    assert "shifted by 40 mm" in reasons["shifted"]
    assert "--skip shifted" in reasons["shifted"]
    assert "11×10×8 at" in reasons["smaller"]
    assert "not 12×10×8 at" in reasons["smaller"]
    assert "holds the ids 15, 77, which label table flare23 does not have" in reasons["alien"]
    assert "no such file" in reasons["no_label"]
    assert "expected letters" in reasons["../evil"]
    assert "no class 'heart'" in reasons["wrong"]
    assert all("\n" not in reason for reason in reasons.values())
    assert read_cohort(tmp_path / "C").broken == cohort.broken
    assert sorted(path.name for path in (tmp_path / "C").iterdir()) == [
        "checks.jsonl",
        "cohort.json",
    ]


def test_every_kind_of_broken_image_is_named(files: Files, tmp_path: Path):
    files.ct("good.nii.gz")
    for name, (make, _) in BROKEN.items():
        make(files.folder / name)
    cohort = cohort_of(
        listed(
            files,
            "good,good.nii.gz,,,",
            *(f"{name[:-7]}_{n},{name},,," for n, name in enumerate(BROKEN)),
        ),
        tmp_path / "C",
    )
    assert [case.id for case in cohort] == ["good"]
    assert len(cohort.broken) == len(BROKEN)
    for failure, (name, (_, said)) in zip(cohort.broken, BROKEN.items(), strict=True):
        # A folder is taken for a DICOM series, and is none either.
        assert ("no DICOM image in it" if name.startswith("folder") else said) in failure.reason


def test_an_unwritable_output_is_known_before_anything_is_read(
    four: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(
        "nnstudent.cohort.check.read_scan", lambda path, **_: pytest.fail(f"read {path}")
    )
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        cohort_of(four, tmp_path / "file" / "C")


def test_skip(files: Files, tmp_path: Path):
    files.ct("good.nii.gz")
    source = listed(files, "good,good.nii.gz,,,", "missing,none.nii.gz,,,")
    cohort = cohort_of(source, tmp_path / "C", skip=["missing"])
    assert not cohort.broken
    with pytest.raises(
        InputError, match="--skip nobody: no such case in the source; it has good, missing"
    ):
        cohort_of(source, tmp_path / "C", skip=["nobody"])


def test_a_second_call_reads_only_what_changed(four: Path, tmp_path: Path, monkeypatch):
    cohort_of(four, tmp_path / "C")
    first = (tmp_path / "C" / "cohort.json").read_bytes()
    read: list[str] = []

    import nnstudent.cohort.check as check

    original = check.read_scan
    monkeypatch.setattr(
        check, "read_scan", lambda path, **how: read.append(path.name) or original(path, **how)
    )
    cohort_of(four, tmp_path / "C")
    assert read == []
    assert (tmp_path / "C" / "cohort.json").read_bytes() == first
    os.utime(four.parent / "bare.nii.gz", ns=(1, 1))
    cohort_of(four, tmp_path / "C")
    assert read == ["bare.nii.gz"]
    (tmp_path / "C" / "checks.jsonl").write_text("{")
    cohort_of(four, tmp_path / "C")
    assert len(read) == 5
    assert (tmp_path / "C" / "cohort.json").read_bytes() == first


def test_a_custom_label_table(files: Files, tmp_path: Path):
    table = Taxonomy(
        "mine",
        (LabelClass(7, "liver"), LabelClass(9, "spleen"), LabelClass(12, "mass", kind="lesion")),
    )
    files.ct("a.nii.gz"), files.label("a_l.nii.gz", [7, 12])
    files.ct("b.nii.gz"), files.label("b_l.nii.gz", [7, 9])
    cohort = cohort_of(
        listed(files, "a,a.nii.gz,a_l.nii.gz,,", "b,b.nii.gz,b_l.nii.gz,,"),
        tmp_path / "C",
        taxonomy=table,
    )
    assert {case.id: set(case.annotated) for case in cohort} == {
        "a": {"liver", "mass"},
        "b": {"liver", "spleen"},
    }
    assert read_cohort(tmp_path / "C").taxonomy == table


def test_an_output_that_cannot_be_written(four: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        cohort_of(four, tmp_path / "file" / "C")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "source"]


def test_a_cohort_can_be_indexed_in_place(four: Path, tmp_path: Path):
    first = cohort_of(four, tmp_path / "C")
    assert cohort_of(tmp_path / "C", tmp_path / "C") == first


def test_relative_paths_end_up_absolute(four: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(four.parent)
    cohort = cohort_of(Path("cases.csv"), Path("../C"))
    monkeypatch.chdir(tmp_path.parent)
    assert all(case.image.is_file() for case in cohort)
    assert read_cohort(tmp_path / "C") == cohort


def test_progress_counts_every_case(four: Path, tmp_path: Path):
    told: list[tuple[str, int, int]] = []
    cohort_of(
        four, tmp_path / "C", progress=lambda what, done, total: told.append((what, done, total))
    )
    assert told == [("check", n, 4) for n in range(5)]


def test_real_ct_and_a_dicom_series(real_data: Path, tmp_path: Path, monkeypatch):
    pytest.importorskip("pydicom")
    monkeypatch.setenv("NNSTUDENT_DATA", str(real_data))
    source = tmp_path / "real.csv"
    source.write_text(
        "id,image,label,annotated,role\n"
        "ts_example,${NNSTUDENT_DATA}/ts_example/ct.nii.gz,${NNSTUDENT_DATA}/ts_example/label.nii.gz,,\n"
        "series,${NNSTUDENT_DATA}/ts_dicom20/series,${NNSTUDENT_DATA}/ts_dicom20/label.nii.gz,,\n"
    )
    found = index(source, tmp_path / "C")
    cases = {case.id: case for case in found.cohort}
    assert not found.cohort.broken
    assert cases["ts_example"].annotated == set(ORGANS) - {"esophagus"}
    assert cases["series"].image == tmp_path / "C" / "images" / "series.nii.gz"
    assert cases["series"].label == tmp_path / "C" / "labels" / "series.nii.gz"
    assert found.facts["series"].size == (512, 512, 20)
    assert not any(facts.warnings for facts in found.facts.values())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spacing_mm", [{}, 1, 1]),
        ("size", "abc"),
        ("hu", [None, 1]),
        ("image", []),
        ("warnings", 3),
    ],
)
def test_a_check_that_was_changed_is_made_again(four: Path, tmp_path: Path, key: str, value: Any):
    before = cohort_of(four, tmp_path / "C")
    path = tmp_path / "C" / "checks.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["facts"][key] = value
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert cohort_of(four, tmp_path / "C") == before
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["id"] for row in rows} == {case.id for case in before}
    assert not any(row["facts"][key] == value for row in rows)


def test_quick_reads_headers_alone_and_a_full_call_checks_the_rest(
    files: Files, tmp_path: Path, monkeypatch
):
    files.ct("good.nii.gz"), files.label("good_l.nii.gz", ALL)
    files.ct("cut.nii.gz")
    content = (files.folder / "cut.nii.gz").read_bytes()
    (files.folder / "cut.nii.gz").write_bytes(content[: len(content) // 2 + 200])
    files.text("empty.nii.gz", "")
    source = listed(
        files, "good,good.nii.gz,good_l.nii.gz,,", "cut,cut.nii.gz,,,", "empty,empty.nii.gz,,,"
    )
    import nnstudent.cohort.check as check

    with monkeypatch.context() as patched:
        patched.setattr(check, "read_scan", lambda path, **_: pytest.fail(f"read {path}"))
        found = index(source, tmp_path / "C", quick=True)
    assert [(case.id, case.checked) for case in found.cohort] == [("good", False), ("cut", False)]
    assert found.cohort["good"].annotated == set(ORGANS)  # label maps are read
    assert found.facts["good"].hu is None
    assert [failure.case for failure in found.cohort.broken] == ["empty"]
    assert read_cohort(tmp_path / "C") == found.cohort
    full = index(source, tmp_path / "C").cohort
    assert [(case.id, case.checked) for case in full] == [("good", True)]
    assert [failure.case for failure in full.broken] == ["cut", "empty"]
    # What was checked in full is not forgotten, and what is broken stays so.
    again = index(source, tmp_path / "C", quick=True).cohort
    assert [(case.id, case.checked) for case in again] == [("good", True), ("cut", False)]
