"""A hospital's export as a source: each study is a case, and one of its series is chosen."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
from nnstudent.cohort.index import index
from nnstudent.cohort.sources import read_source
from nnstudent.cohort.sources.dicom import recognizes
from tests.io.series import Series


def series(number: int, slices: int = 8) -> Series:
    k, j, i = np.indices((slices, 6, 8))
    return Series(stored=24 + 300 * j + 40 * i + k, number=number)


def test_studies_become_cases_and_the_series_is_named(tmp_path):
    tree = tmp_path / "export"
    first = series(3)
    first.write(tree / "P 1" / "A" / "three")
    second = series(4, slices=12)
    for header in second.slices:
        header.StudyInstanceUID = first.study
    second.write(tree / "P 1" / "A" / "four")
    series(3).write(tree / "P2" / "B" / "three")
    assert recognizes(tree)
    source = read_source(tree)
    assert source.kind == "a DICOM export"
    assert [(entry.id, entry.label) for entry in source.entries] == [
        ("P_1", None),
        ("P2", None),
    ]
    found = index(tree, tmp_path / "cohort")
    assert found.cohort.broken == ()
    assert [found.facts[id].size for id in ("P_1", "P2")] == [(8, 6, 12), (8, 6, 8)]
    assert any(
        line.startswith("P_1: took CT series 4") and "passed over 3: 8 images" in line
        for line in found.notices
    )


def test_a_folder_with_other_images_is_none(tmp_path):
    Series().write(tmp_path / "P" / "S")
    (tmp_path / "labels.nii.gz").write_bytes(b"")
    assert not recognizes(tmp_path)
    assert not recognizes(tmp_path / "nothing")
