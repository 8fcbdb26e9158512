"""Cohorts of phantoms on disk: profiles, files, the same bytes for the same seed."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.cli import main
from nnstudent.cohort.cohort import read_cohort
from nnstudent.errors import InputError, OutputError
from nnstudent.io.nifti import read_image, read_labels
from nnstudent.phantom import label_profiles, make_cohort
from nnstudent.taxonomy import flare23

SLICES = 24  # enough that each organ of a profile is in view somewhere


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phantoms") / "first"
    make_cohort(out, cases=6, seed=5, preset="tiny", slices=SLICES)
    return out


def _hashes(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_cases(folder, tmp_path):
    time.sleep(1.1)  # a time stamp in the files would differ
    again = tmp_path / "under another name"
    make_cohort(again, cases=3, seed=5, preset="tiny", slices=SLICES)
    few, all_six = _hashes(again), _hashes(folder)
    assert len(few) >= 3 * 2 + 1
    assert all(all_six[name] == value for name, value in few.items() if name != "cohort.json")


def test_another_seed_gives_another_patient(folder, tmp_path):
    make_cohort(tmp_path, cases=1, seed=6, preset="tiny", slices=SLICES)
    assert (
        _hashes(tmp_path)["images/phantom_001.nii.gz"]
        != _hashes(folder)["images/phantom_001.nii.gz"]
    )


def test_labels_hold_what_is_declared(folder):
    cohort = read_cohort(folder)
    table = flare23()
    assert len(cohort) == 6
    assert len(cohort.test()) >= 1
    assert len(cohort.annotated_with(table.organs)) >= 2
    assert any(case.label is None for case in cohort)
    assert any("tumor" in case.annotated and len(case.annotated) < 14 for case in cohort.train())
    for case in cohort:
        assert case.declared
        image, truth = read_image(case.image), read_labels(folder / "truth" / case.image.name)
        assert image.grid.matches(truth.grid)
        if case.label is None:
            assert not case.annotated
            continue
        labels = read_labels(case.label)
        ids = {table[name].id for name in case.annotated}
        assert labels.grid.matches(image.grid)
        assert set(np.unique(labels.array)) <= {0, *ids}
        known = np.isin(truth.array, list(ids))
        assert np.array_equal(labels.array[known], truth.array[known])
        beyond = (labels.array > 0) & ~known  # an organ's lesion that nobody annotated
        assert np.all(truth.array[beyond] == 14)


@given(cases=st.integers(1, 300))
def test_profiles_add_up(cases):
    kinds = label_profiles(cases)
    counts = Counter(kinds)
    assert len(kinds) == cases
    assert kinds == label_profiles(300)[:cases]
    if cases >= 6:
        assert counts["full"] >= 2
        assert counts["test"] >= 1
        assert all(counts[kind] >= 1 for kind in ("tumor", "partial", "unlabeled"))


def test_counts_override_the_mixture():
    assert Counter(label_profiles(4, {"full": 3, "test": 1})) == {"full": 3, "test": 1}
    shared = Counter(label_profiles(20, {"full": 10}))
    assert shared["full"] == 10
    assert set(shared) == {"full", "tumor", "partial", "unlabeled", "test"}
    with pytest.raises(InputError, match="add up to 5"):
        label_profiles(4, {"full": 5})
    with pytest.raises(InputError, match="-1 full"):
        label_profiles(4, {"full": -1})


def test_the_command(tmp_path, capsys):
    out = tmp_path / "made"
    report = tmp_path / "report.json"
    assert (
        main(
            [
                "phantom",
                str(out),
                "--preset",
                "tiny",
                "--full",
                "1",
                "--slices",
                "12",
                "--seed",
                "2",
                "--report",
                str(report),
            ]
        )
        == 0
    )
    assert "1 phantom, 0 for testing" in capsys.readouterr().out
    assert [case.annotated for case in read_cohort(out)] == [frozenset(flare23().organs)]
    assert '"schema": 1' in report.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cases", "0"], "0 phantom cases"),
        (["--cases", "2", "--preset", "huge"], "huge"),
        (["--cases", "2", "--full", "3"], "add up"),
        (["--cases", "1", "--seed", "-4"], "seed -4"),
        (["--cases", "1", "--slices", "1"], "1 slices"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, arguments, said):
    assert main(["phantom", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "cohort.json").exists()


def test_an_output_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        make_cohort(tmp_path / "file" / "out", cases=1, seed=0, preset="tiny")
    assert main(["phantom", str(tmp_path / "file"), "--cases", "1", "--preset", "tiny"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_without_permission_is_one_line(tmp_path, capsys):
    tmp_path.chmod(0o500)
    try:
        assert main(["phantom", str(tmp_path / "out"), "--cases", "1", "--preset", "tiny"]) == 2
    finally:
        tmp_path.chmod(0o700)
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
