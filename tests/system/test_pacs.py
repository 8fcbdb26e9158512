"""A real PACS: studies are fetched from Orthanc, or sent by it, and the DICOM-SEG is found in the
study there."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from nnstudent.io.nifti import write_image
from nnstudent.io.terms import meaning
from nnstudent.phantom import make_case
from nnstudent.taxonomy import flare23
from nnstudent.web.pacs.credentials import authorization
from nnstudent.web.pacs.deliver import Delivery
from nnstudent.web.settings import PacsSettings, Settings
from tests.system.orthanc import TITLE, Orthanc
from tests.web.conftest import free_port, running, series_of, wait_for

LOGIN = {"NNSTUDENT_PACS_USER": "clerk", "NNSTUDENT_PACS_PASSWORD": "pass word"}
REAL = (
    Path(os.environ.get("NNSTUDENT_DATA", Path(__file__).parents[3] / "shared" / "data"))
    / "ts_dicom20"
)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """A small synthetic CT as NIfTI."""
    path = tmp_path_factory.mktemp("phantom") / "phantom.nii.gz"
    write_image(path, make_case(1, preset="tiny", slices=24).image)
    return path


@pytest.fixture
def orthanc(tmp_path) -> Iterator[Orthanc]:
    pacs = Orthanc(tmp_path / "orthanc")
    try:
        yield pacs
    finally:
        pacs.kill()


@pytest.fixture(params=["phantom", *(["real"] if REAL.is_dir() else [])])
def study(request, phantom, tmp_path) -> Path:
    """The files of a study: synthetic, with a second series of a sharp kernel; or real, in JPEG
    2000, with UIDs of its own."""
    folder = tmp_path / "study"
    if request.param == "phantom":
        soft, sharp = series_of(phantom, number=2), series_of(phantom, number=1)
        sharp.study = soft.study
        for header in sharp.slices:
            header.StudyInstanceUID, header.ConvolutionKernel = soft.study, "B70f"
        soft.write(folder)
        return sharp.write(folder)
    folder.mkdir()
    uids = {
        keyword: generate_uid()
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    }
    for number, path in enumerate(sorted((REAL / "series").iterdir())):
        header = pydicom.dcmread(path)
        for keyword, uid in uids.items():
            setattr(header, keyword, uid)
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID  # blanked, as all UIDs
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        header.save_as(folder / f"{number}.dcm")
    return folder


def uid_of(folder: Path) -> str:
    return str(pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True).StudyInstanceUID)


def settings(tmp_path: Path, orthanc: Orthanc, **how) -> Settings:
    hospital = PacsSettings(
        url=orthanc.url,
        authorization=authorization(orthanc.url, environment=LOGIN),
        quiet_seconds=1.0,
    )
    return Settings(tmp_path / "work", threads=2, pacs=replace(hospital, **how))


def wait_until(true, *, seconds: float = 120):
    until = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < until, f"not in {seconds} s"
        time.sleep(0.1)
    return value


def delivered(client, id: str) -> dict:
    """The job, once its result is stored or given up."""
    wait_for(client, id, "done", "failed")
    return wait_until(
        lambda: (
            (job := client.get(f"/api/jobs/{id}").json())["state"] == "failed"
            or (told(job) and job)
        )
    )


def told(job: dict) -> bool:
    return bool(job["delivery"]) and job["delivery"]["state"] != "waiting"


def check_seg(content: bytes, labels: Path, source: Path) -> None:
    """See that the SEG in the PACS has the labels' voxels, names and codes, in the study and on the
    images of its source."""
    (path := labels.with_name("from-pacs.dcm")).write_bytes(content)
    seg = hd.seg.segread(path)
    header = pydicom.dcmread(next(source.iterdir()), stop_before_pixels=True)
    assert (seg.StudyInstanceUID, seg.PatientID) == (header.StudyInstanceUID, header.PatientID)
    image = nib.load(labels)
    wanted = np.asarray(image.dataobj)
    ids = [id for id in np.unique(wanted) if id]
    assert len(ids) >= 3
    table = flare23()
    names = [str(item.SegmentLabel) for item in seg.SegmentSequence]
    assert names == [meaning(table.by_id(id)) for id in ids]
    assert [
        item.SegmentedPropertyTypeCodeSequence[0].CodeValue for item in seg.SegmentSequence
    ] == [table.by_id(id).snomed for id in ids]
    volume = seg.get_volume(combine_segments=True)
    to_voxel = (
        np.linalg.inv(image.affine) @ np.diag([-1.0, -1, 1, 1]) @ volume.affine
    )  # of the SEG's voxels, in patient space
    places = np.argwhere(volume.array > 0)
    at = np.rint((np.c_[places, np.ones(len(places))] @ to_voxel.T)[:, :3]).astype(int)
    assert np.array_equal(wanted[tuple(at.T)], np.array([0, *ids])[volume.array[volume.array > 0]])
    assert len(places) == np.count_nonzero(wanted)


def test_a_study_is_fetched_segmented_and_the_seg_stored_in_it(orthanc, study, tmp_path):
    orthanc.add(study)
    uid, images = uid_of(study), len(list(study.iterdir()))
    with running(settings(tmp_path, orthanc)) as service, service.client() as client:
        listed = client.get("/api/pacs/studies", params={"days": 36500}).json()
        assert [(row["uid"], row["modalities"], row["images"]) for row in listed] == [
            (uid, ["CT"], images)
        ]
        assert "Secret" not in str(listed)
        answer = client.post(f"/api/pacs/studies/{uid}")
        assert answer.status_code == 201, answer.text
        job = delivered(client, answer.json()["id"])
        assert (job["state"], job["delivery"]) == ("done", {"state": "stored", "error": None})
        (instance,) = orthanc.found("SEG", uid)
        labels = tmp_path / "labels.nii.gz"
        labels.write_bytes(client.get(f"/api/jobs/{job['id']}/files/labels.nii.gz").content)
        check_seg(orthanc.file(instance), labels, study)
        assert any("passed over 1:" in line for line in job["warnings"]) == (images > 20), (
            "of two series the soft one"
        )
        refused = client.post("/api/pacs/studies/1.2.3").json()
        assert "no CT series in this study" in wait_for(client, refused["id"], "failed")["error"]


@pytest.mark.parametrize("back", ["STOW-RS", "C-STORE"])
def test_a_study_that_the_pacs_sends_is_segmented_and_the_seg_sent_back(study, tmp_path, back):
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", peer=("127.0.0.1", port))
    peer = (
        {"url": None, "authorization": None, "peer": f"{TITLE}@127.0.0.1:{orthanc.dicom}"}
        if back == "C-STORE"
        else {}
    )
    try:
        id, uid = orthanc.add(study), uid_of(study)
        with running(
            settings(tmp_path, orthanc, listen=("127.0.0.1", port), callers=(TITLE,), **peer)
        ) as service:
            orthanc.ask("POST", "/modalities/nnstudent/echo", b"{}")
            orthanc.ask("POST", "/modalities/nnstudent/store", id.encode())
            (instance,) = wait_until(lambda: orthanc.found("SEG", uid))
            (job,) = service.service.jobs.all()
            check_seg(orthanc.file(instance), job.output / "labels.nii.gz", study)
            with service.client() as client:
                assert client.get("/api/jobs").json() == [], (
                    "what a scanner sent is nobody's who asks over the web"
                )
    finally:
        orthanc.kill()


def test_a_pacs_that_dies_midway_is_told_in_one_line_and_gets_its_seg_after_a_restart(
    orthanc, phantom, tmp_path, monkeypatch, caplog
):
    series = series_of(phantom)
    orthanc.add(series.write(tmp_path / "study"))
    monkeypatch.setattr(Delivery.__init__, "__kwdefaults__", {"waits": (0.1, 0.1)})
    setup = settings(tmp_path, orthanc)
    with running(setup) as service, service.client() as client:
        id = client.post(f"/api/pacs/studies/{series.study}").json()["id"]
        wait_until(lambda: client.get(f"/api/jobs/{id}").json()["state"] == "running")
        orthanc.kill()
        job = delivered(client, id)
        line = (
            f"the PACS at {orthanc.url} cannot be reached (Connection refused); check that it is "
            "running and that the address is right"
        )
        assert (job["state"], job["delivery"]) == ("done", {"state": "failed", "error": line})
        assert client.get(f"/api/jobs/{id}/files/labels.seg.dcm").status_code == 200
        assert client.get("/api/pacs/studies").json() == {"error": line}
        again = client.post(f"/api/pacs/studies/{series.study}").json()["id"]
        assert wait_for(client, again, "failed")["error"] == line
    said = caplog.text
    assert line in said
    assert "Secret" not in said
    assert series.study not in said
    assert "pass word" not in said
    orthanc.start()
    with running(setup) as service:
        (job,) = (job for job in service.service.jobs.all() if job.id == id)
        wait_until(lambda: job.origin["delivery"]["state"] == "stored")
    (instance,) = orthanc.found("SEG", series.study)
    assert len(pydicom.dcmread(io.BytesIO(orthanc.file(instance))).SegmentSequence) >= 3
