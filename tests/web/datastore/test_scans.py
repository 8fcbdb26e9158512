from __future__ import annotations

import shutil

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.nifti import write_image
from nnstudent.volume import Grid, Volume
from nnstudent.web.datastore.scans import CORRECTED, NotFoundError, Scans
from tests.io.series import Series

GRID = Grid((2, 3, 4), np.eye(4))


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Volume(np.zeros(GRID.shape, np.int16), GRID))


def test_every_scan_has_an_id_that_can_name_a_case(tmp_path):
    for name in (
        "p 1/ct.nii.gz",
        "p-2/ct.nii.gz",
        "loose ü.nii.gz",
        f"{CORRECTED}/labels/x.nii.gz",
    ):
        image(tmp_path / name)
    Series().write(tmp_path / "p3" / "dicom")
    (tmp_path / "note.txt").write_text("no scan")
    scans = Scans(tmp_path)
    assert [(scan.id, scan.name, scan.kind) for scan in scans.all()] == [
        ("loose", "loose ü", "image"),
        ("p-2_ct", "p-2", "image"),
        ("p3_dicom", "p3", "dicom"),
        ("p_1_ct", "p 1", "image"),
    ]
    series = scans.find("p3_dicom").series
    assert scans.find(series).id == "p3_dicom", "viewers know it by its SeriesInstanceUID"


def test_two_names_that_give_one_id_are_two_scans(tmp_path):
    image(tmp_path / "a" / "b_ct.nii.gz")
    image(tmp_path / "a_b" / "ct.nii.gz")
    ids = [scan.id for scan in Scans(tmp_path).all()]
    assert len(set(ids)) == 2
    assert ids == [scan.id for scan in Scans(tmp_path).all()], "and stay so"


@pytest.mark.parametrize("id", ["../secret", "/etc/passwd", "p1/ct.nii.gz", "", "P1_CT"])
def test_an_id_is_looked_up_and_never_a_path(tmp_path, id):
    image(tmp_path / "p1" / "ct.nii.gz")
    with pytest.raises(NotFoundError, match="no such scan"):
        Scans(tmp_path).find(id)


def test_scans_come_and_go(tmp_path):
    image(tmp_path / "p1" / "ct.nii.gz")
    scans = Scans(tmp_path)
    found = scans.find("p1_ct")
    image(tmp_path / "p2" / "ct.nii.gz")
    assert scans.find("p2_ct").name == "p2"
    shutil.rmtree(tmp_path / "p1")
    with pytest.raises(NotFoundError):
        scans.find("p1_ct")
    with pytest.raises(NotFoundError, match="no longer"):
        found.stamp  # noqa: B018
    assert scans.was_here("p1_ct")


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        Scans(tmp_path / "nowhere")
