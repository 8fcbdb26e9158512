from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from nnstudent.inference.files.formats import Sources
from nnstudent.io.dicom.series import read_series
from nnstudent.volume import Grid, Volume
from nnstudent.web.scan_facts import scan_facts
from tests.io.series import Series, save


def facts(source, series=None, rows=()):
    volume = Volume(np.zeros((3, 4, 5), np.int16), Grid((3, 4, 5), np.diag([0.8, 0.8, 2.5, 1])))
    return scan_facts(SimpleNamespace(image=volume, sources=Sources(source, series)), list(rows))


def test_a_file_has_a_size_a_spacing_and_a_phase_by_its_organs(tmp_path):
    rows = [("c", "aorta", "80", "152.3", "9", "no", "0.9"), ("c", "liver", "0", "", "", "no", "")]
    assert facts(tmp_path, rows=rows) == {
        "size": [5, 4, 3],
        "spacing_mm": [0.8, 0.8, 2.5],
        "series": None,
        "phase": "portal venous phase or later, judging by the aorta of 152 HU",
    }
    assert facts(tmp_path)["phase"] is None


def test_a_series_has_its_description_as_plain_text(tmp_path):
    series = Series()
    for number, header in enumerate(series.slices):
        header.SeriesDescription = "=Abdomen\x1b 5.0"
        save(header, tmp_path / f"{number}.dcm")
    assert facts(tmp_path, series=read_series(tmp_path))["series"] == "Abdomen 5.0"
