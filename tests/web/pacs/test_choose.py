"""The CT series of a study that is segmented."""

from __future__ import annotations

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")

import pydicom

from nnstudent.web.settings import Limits
from tests.io.series import Series


def test_of_several_series_only_the_one_that_is_meant_is_fetched(pacs, fake, series, folder):
    sharp, scout = Series(number=1), Series(number=2, slices=9)
    for header in sharp.slices:
        header.ConvolutionKernel = "B70f"
    for header in scout.slices:
        header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    fake.series = {one.uid: one for one in (sharp, scout, series)}
    (told,) = pacs.fetch(series.study, folder, limits=Limits())
    assert (
        told
        == "took CT series 7: 5 images of 8×6, axial; passed over 1: 5 images of 8×6, axial, B70f"
    )
    assert {pydicom.dcmread(path).SeriesNumber for path in folder.iterdir()} == {7}
    fetched = [path for _, path, _, _ in fake.asked if path.count("/") == 5]
    assert fetched == [f"/dicom-web/studies/{series.study}/series/{series.uid}"]
