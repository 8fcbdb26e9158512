"""Real HTTP, a real worker, the bundled student."""

from __future__ import annotations

import csv
import io
import os
import signal

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from tests.web.conftest import is_alive, running, upload, wait_for

pytestmark = pytest.mark.slow

FILES = ["image.nii.gz", "labels.nii.gz", "statistics.csv", "preview.png"]


@pytest.fixture(scope="module")
def at_work(tmp_path_factory):
    from nnstudent.web.settings import Settings

    with running(Settings(tmp_path_factory.mktemp("served") / "work", threads=2)) as service:
        yield service


def fetched(client, job, name) -> bytes:
    answer = client.get(f"/api/jobs/{job['id']}/files/{name}")
    assert answer.status_code == 200
    return answer.content


@pytest.mark.parametrize("ending", ["nrrd", "mha"])
def test_other_image_files_are_segmented_as_nifti_is(at_work, phantom, tmp_path, ending):
    path = tmp_path / f"Case 7.{ending}"
    sitk.WriteImage(sitk.ReadImage(str(phantom)), str(path))
    volumes = {}
    with at_work.client() as client:
        for scan in (phantom, path):
            job = wait_for(client, upload(client, scan).json()["id"], "done", "failed")
            assert (job["state"], job["error"], job["files"]) == ("done", None, FILES)
            volumes[scan] = [organ["volume_ml"] for organ in job["organs"]]
    assert job["name"] == "Case 7"
    assert volumes[path] == pytest.approx(volumes[phantom], abs=0.01)


def test_a_nifti_is_segmented(at_work, phantom, tmp_path):
    with at_work.client() as client:
        answer = upload(client, phantom)
        assert answer.status_code == 201
        assert answer.json()["state"] in ("queued", "running")
        job = wait_for(client, answer.json()["id"], "done", "failed")
        assert (job["state"], job["error"], job["name"], job["files"]) == (
            "done",
            None,
            "phantom",
            FILES,
        )
        organs = {organ["name"]: organ for organ in job["organs"]}
        assert len(organs) == 14
        assert organs["liver"]["volume_ml"] > 75  # of 158, of a body cut on all sides
        (tmp_path / "labels.nii.gz").write_bytes(fetched(client, job, "labels.nii.gz"))
        (tmp_path / "image.nii.gz").write_bytes(fetched(client, job, "image.nii.gz"))
        labels, image, sent = (
            nib.load(path)
            for path in (tmp_path / "labels.nii.gz", tmp_path / "image.nii.gz", phantom)
        )
        np.testing.assert_allclose(labels.affine, sent.affine, atol=1e-4)
        np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(sent.dataobj))
        ml = (
            np.count_nonzero(np.asarray(labels.dataobj) == 1)
            * np.prod(labels.header.get_zooms())
            / 1000
        )
        assert ml == pytest.approx(organs["liver"]["volume_ml"], rel=1e-3)
        rows = list(csv.DictReader(io.StringIO(fetched(client, job, "statistics.csv").decode())))
        assert [row["organ"] for row in rows] == [organ["name"] for organ in job["organs"]]
        assert fetched(client, job, "preview.png").startswith(b"\x89PNG")
        assert client.get(f"/api/jobs/{job['id']}/files/labels.seg.dcm").status_code == 404
        stored = {path.name for path in at_work.service.settings.work.rglob(f"{job['id']}/**/*")}
        assert stored == {"job.json", "output", *FILES}, (
            "what was sent is deleted when the job is done"
        )


def test_a_dicom_folder_is_segmented_and_answered_with_a_dicom_seg(at_work, phantom_series):
    with at_work.client() as client:
        answer = upload(
            client, *sorted(phantom_series.iterdir()), names=lambda path: f"study/{path.name}"
        )
        assert answer.status_code == 201
        job = wait_for(client, answer.json()["id"], "done", "failed")
        assert (job["state"], job["error"], job["name"]) == ("done", None, "Secretseries")
        assert job["files"] == [
            "image.nii.gz",
            "labels.nii.gz",
            "labels.seg.dcm",
            "statistics.csv",
            "preview.png",
        ]
        seg = pydicom.dcmread(io.BytesIO(fetched(client, job, "labels.seg.dcm")))
        source = pydicom.dcmread(next(phantom_series.iterdir()))
        assert seg.Modality == "SEG"
        assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID


def test_a_worker_that_is_killed_fails_its_job_and_the_next_is_done(at_work, phantom, long_phantom):
    with at_work.client() as client:
        first, second = (upload(client, scan).json()["id"] for scan in (long_phantom, phantom))
        wait_for(client, first, "running")
        pid = at_work.service.runner.pid
        os.kill(pid, signal.SIGKILL)
        job = wait_for(client, first, "done", "failed")
        assert job["state"] == "failed"
        assert "killed" in job["error"]
        assert "memory" in job["error"]
        assert wait_for(client, second, "done", "failed")["state"] == "done"
        assert at_work.service.runner.pid != pid
        assert not is_alive(pid)


def test_what_is_deleted_while_it_runs_is_stopped_and_gone(at_work, phantom, long_phantom):
    with at_work.client() as client:
        first, second = (upload(client, scan).json()["id"] for scan in (long_phantom, phantom))
        wait_for(client, first, "running")
        assert client.get(f"/api/jobs/{second}").json()["place"] == 1
        assert client.delete(f"/api/jobs/{first}").status_code == 204
        assert client.get(f"/api/jobs/{first}").status_code == 404
        assert not (at_work.service.settings.work / "jobs" / first).exists()
        assert wait_for(client, second, "done", "failed")["state"] == "done"
