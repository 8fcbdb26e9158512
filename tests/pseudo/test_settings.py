"""A part of the labeling is complete by itself, and all parts together equal one call."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.nifti import write_labels
from nnstudent.io.parts import Part, parts
from nnstudent.pseudo.label import label
from nnstudent.pseudo.select import select
from nnstudent.pseudo.selection import SelectSettings
from nnstudent.pseudo.settings import LabelSettings
from nnstudent.volume import Volume
from tests.pseudo.conftest import GRID, SHAPE, Maker

SETTINGS = SelectSettings(min_agreement=0.0)


def test_parts_in_any_order_equal_one_call_and_a_missing_one_is_refused(maker: Maker, tmp_path):
    ids = [f"c{number}" for number in range(5)]
    cohort = maker.cohort(*map(maker.case, ids))
    for id in ids:
        write_labels(tmp_path / "made" / f"{id}.nii.gz", Volume(np.ones(SHAPE, np.uint8), GRID))

    def made(out, part: Part) -> tuple[str, ...]:
        settings = LabelSettings(part=part)
        done = label(cohort, out, labels_from=tmp_path / "made", settings=settings)
        return done.made

    shared, whole = tmp_path / "shared", tmp_path / "whole"
    for part in (Part(3, 3), Part(1, 3)):
        made(shared, part)
    with pytest.raises(InputError, match=r"part 2/3 has not ended; run: .* --part 2/3"):
        select(cohort, shared, tmp_path / "fused", settings=SETTINGS)
    assert made(shared, Part(2, 3)) == ("c1", "c4")
    assert [made(shared, part) for part in parts(3)] == [()] * 3  # nothing is made twice
    made(whole, Part())
    for id in ids:
        assert (shared / f"{id}.nii.gz").read_bytes() == (whole / f"{id}.nii.gz").read_bytes()
    chosen = select(cohort, shared, tmp_path / "fused", settings=SETTINGS)
    assert list(chosen.kept) == ids
