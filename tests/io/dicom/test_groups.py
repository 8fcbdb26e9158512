"""Which series is taken where nobody can be asked."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.io.dicom.groups import Group, best
from nnstudent.io.dicom.headers import Header
from nnstudent.io.dicom.series import read_series
from tests.io.series import COLUMNS, ROWS, SPACING, Series


def group(number: int, *, slices=20, mm=2.5, kernel="", image_type="ORIGINAL", **how) -> Group:
    stored = np.zeros((slices, ROWS, COLUMNS))
    series = Series(number=number, stored=stored, spacing=(*SPACING[:2], mm), **how)
    for header in series.slices:
        header.ImageType = [image_type, "PRIMARY", "AXIAL"]
        if kernel:
            header.ConvolutionKernel = kernel
    return Group.of(series.uid, [Header.of(header) for header in series.slices])


@pytest.mark.parametrize(
    ("wanted", "others"),
    [
        pytest.param(group(9), [group(1, slices=12), group(2, slices=2)], id="covers the most"),
        pytest.param(
            group(9), [group(1, kernel=["B70f", "3"], slices=40, mm=1.25)], id="no lung kernel"
        ),
        pytest.param(
            group(9, kernel="STANDARD"),
            [group(1, kernel="BONEPLUS"), group(2, kernel="FC52")],
            id="no bone kernel",
        ),
        pytest.param(
            group(9, kernel="Br40d"), [group(1, kernel="Bl57d")], id="the soft one of two"
        ),
        pytest.param(group(9, slices=40, mm=1.25), [group(1)], id="the finest"),
        pytest.param(group(9, slices=19), [group(1, kernel="LUNG")], id="as long to a tenth"),
        pytest.param(group(1), [group(2), group(9)], id="the first"),
        pytest.param(
            group(9, kernel="LUNG"),
            [group(1, slices=3)],
            id="a sharp one that is the only one of the whole body",
        ),
        pytest.param(group(9), [group(1, column=(0, 0, -1), slices=60)], id="axial"),
        pytest.param(group(9), [group(1, image_type="DERIVED", slices=60)], id="original"),
    ],
)
def test_the_choice_does_not_depend_on_the_order(wanted, others):
    assert best([wanted, *others]) is wanted
    assert best([*others[::-1], wanted]) is wanted


def test_passed_over_series_are_listed(tmp_path):
    soft, sharp = Series(number=2), Series(number=3)
    for header in sharp.slices:
        header.ConvolutionKernel = "B70f"
    soft.write(tmp_path)
    sharp.write(tmp_path)
    read = read_series(tmp_path, ask=False)
    assert read.warnings == (
        "took CT series 2: 5 images of 8×6, axial; passed over 3: 5 images of 8×6, axial, B70f",
    )
    assert {item.path.name.split("_")[0] for item in read.stack.slices} == {"2"}
