"""The audit of a cohort on disk."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.cohort.cohort import Cohort
from nnstudent.errors import InputError
from nnstudent.labels.audit import audit
from tests.labels.torsos import write_torsos


def test_few_cases_are_said(tmp_path):
    few = write_torsos(tmp_path, 3)
    found = audit(few)
    assert "3 cases are too few to compare" in found.notices[0]
    assert found.suspicious == ()
    with pytest.raises(InputError, match="no case of the cohort has a label map"):
        audit(Cohort(few.taxonomy, ()))
    assert np.isclose(audit(few, classes=("liver",)).cases[0].suspicion, 0)
