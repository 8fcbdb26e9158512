from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.cohort.check import Facts, check_case, file_stamp
from nnstudent.cohort.sources.source import Entry
from nnstudent.errors import InputError
from nnstudent.taxonomy import flare23


def test_facts_survive_plain_data():
    facts = Facts(
        Path("a"), None, (1, 2, 3), (0.5, 0.5, 2.0), "LPS", (-1000.0, 900.0), ("liver",), ("odd",)
    )
    assert Facts.from_dict(facts.to_dict()) == facts
    assert facts.geometry == "1×2×3 at 0.50×0.50×2.00 mm, LPS"


def test_a_file_stamp_changes_with_the_files(tmp_path):
    assert file_stamp(tmp_path / "none") is None
    (tmp_path / "s").mkdir()
    before = file_stamp(tmp_path / "s")
    (tmp_path / "s" / "1.dcm").write_text("x")
    assert file_stamp(tmp_path / "s") != before


def test_a_case_whose_label_is_broken_leaves_no_converted_series(tmp_path):
    from tests.io.series import Series

    entry = Entry("a", Series().write(tmp_path / "series"), tmp_path / "none.nii.gz")
    with pytest.raises(InputError, match="no such file"):
        check_case(entry, taxonomy=flare23(), out=tmp_path / "C")
    assert not (tmp_path / "C").exists()
