"""A cohort that was indexed before."""

from __future__ import annotations

from pathlib import Path

from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.cohort.index import index
from nnstudent.errors import Failure
from nnstudent.taxonomy import flare23
from tests.cohort.conftest import Files


def test_an_indexed_cohort_passes_through(files: Files, tmp_path: Path):
    ct, label = files.ct("images/a.nii.gz"), files.label("labels/a.nii.gz", [1, 3])
    cases = (
        Case("said", ct, label, frozenset({"liver"}), True),
        Case("seen", ct, label, frozenset({"liver", "spleen"}), False),
        Case("bare", ct, role="test"),
    )
    write_cohort(files.folder, Cohort(flare23(), cases, (Failure("gone", "was broken"),)))
    again = index(files.folder / "cohort.json", tmp_path / "C").cohort
    assert again.cases == cases
    assert again.broken == (Failure("gone", "was broken"),)
