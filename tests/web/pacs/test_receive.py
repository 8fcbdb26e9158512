"""Scans sent by C-STORE over loopback: what is accepted, complete, or refused and why."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")

import pydicom
import pynetdicom
from pydicom.uid import ExplicitVRLittleEndian

from nnstudent.errors import InputError
from nnstudent.web.jobs import Jobs
from nnstudent.web.pacs.receive import OWNER, SYNTAXES, Receiver
from tests.io.series import CT, Series, save
from tests.web.pacs.conftest import QUIET

MR = "1.2.840.10008.5.1.4.1.1.4"


def call(receiver, *, caller="SCANNER", called="NNSTUDENT", classes=(CT,)):
    entity = pynetdicom.AE(ae_title=caller)
    for name in classes:
        entity.add_requested_context(name, ExplicitVRLittleEndian)
    return entity.associate("127.0.0.1", receiver.port, ae_title=called)


def sent(association, headers) -> list[int]:
    statuses = []
    for header in headers:
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        statuses.append(association.send_c_store(header).Status)
    return statuses


def queued(jobs, count, *, seconds=10.0) -> list:
    until = time.monotonic() + seconds
    while len(jobs.all()) < count and time.monotonic() < until:
        time.sleep(0.05)
    assert len(jobs.all()) == count
    return jobs.all()


def test_a_study_is_one_job_however_it_comes(receiver, jobs, caplog):
    series, other = Series(), Series(number=4)
    first = call(receiver)
    assert sent(first, series.slices[:3]) == [0] * 3
    second = call(receiver)
    assert sent(second, [*other.slices, *series.slices[2:]]) == [0] * 8
    second.release()
    time.sleep(2 * QUIET)
    (job,) = queued(
        jobs, 1
    )  # the other study is complete, this one is not while one who sent some of it is there
    assert job.origin == {"study": other.study}
    first.release()
    _, job = queued(jobs, 2)
    assert (job.origin, job.owner, job.kind) == ({"study": series.study}, OWNER, "dicom")
    assert sorted(path.name for path in job.input.iterdir()) == [
        f"{n:05d}.dcm" for n in range(5)
    ], "one was sent twice"
    kept = {
        pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path).PixelData
        for path in job.input.iterdir()
    }
    assert kept == {header.SOPInstanceUID: header.PixelData for header in series.slices}
    assert jobs.get(job.id, owner=OWNER) is job
    assert "Secret" not in caplog.text
    assert series.study not in caplog.text


def test_what_is_no_ct_is_refused(receiver, jobs):
    association = call(receiver, classes=(MR, CT, "1.2.840.10008.1.1"))
    assert [context.abstract_syntax for context in association.rejected_contexts] == [MR]
    assert association.send_c_echo().Status == 0
    lying, nameless, elsewhere = (Series(number=n).slices[0] for n in range(3))
    lying.PatientName = "Secretname"
    del nameless.StudyInstanceUID
    elsewhere.StudyInstanceUID = "1.2.840/../../etc"
    assert sent(association, [nameless, elsewhere]) == [0xA900, 0xA900]
    association.release()
    time.sleep(3 * QUIET)
    assert jobs.all() == []


def test_a_data_set_of_another_class_than_announced_is_refused(receiver, jobs, tmp_path):
    header = Series().slices[0]
    save(header, tmp_path / "x.dcm")
    meta = pydicom.dcmread(tmp_path / "x.dcm")
    meta.file_meta.MediaStorageSOPClassUID = CT
    meta.SOPClassUID = MR
    meta.save_as(tmp_path / "x.dcm", enforce_file_format=False)
    pynetdicom._config.STORE_SEND_CHUNKED_DATASET = (
        True  # sends the file as it is, by what its meta information says
    )
    try:
        association = call(receiver)
        assert association.send_c_store(tmp_path / "x.dcm").Status == 0xA900
        association.release()
    finally:
        pynetdicom._config.STORE_SEND_CHUNKED_DATASET = False
    assert jobs.all() == []


def test_who_is_not_known_is_not_let_in(receiver):
    assert call(receiver, caller="STRANGER").is_rejected
    assert call(receiver, called="OTHER").is_rejected


def test_what_is_broken_off_is_queued_once_it_was_sent_again(receiver, jobs):
    series = Series()
    association = call(receiver)
    assert sent(association, series.slices[:3]) == [0] * 3
    association.abort()
    time.sleep(3 * QUIET)
    assert jobs.all() == []
    association = call(receiver)
    assert sent(association, series.slices) == [0] * 5
    association.release()
    (job,) = queued(jobs, 1)
    assert len(list(job.input.iterdir())) == 5


def test_more_than_is_taken_is_refused_and_nothing_is_made_of_the_rest(
    receiver, jobs, limits, tmp_path
):
    series = Series(slices=limits.files + 1)
    association = call(receiver)
    assert sent(association, series.slices) == [0] * limits.files + [0xA700]
    association.release()
    time.sleep(3 * QUIET)
    assert jobs.all() == []
    assert list((tmp_path / "jobs").iterdir()) == []
    large = Series().slices[0]
    large.Rows = large.Columns = 1000
    large.PixelData = bytes(2_000_000)
    association = call(receiver)
    large.file_meta = pydicom.dataset.FileMetaDataset()
    large.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    assert "Status" not in association.send_c_store(large), "broken off before it was all in memory"
    assert jobs.all() == []


def test_a_full_service_says_so(receiver, jobs, limits):
    studies = [Series() for _ in range(limits.uploads + 1)]
    association = call(receiver)
    assert sent(association, [series.slices[0] for series in studies]) == [0] * limits.uploads + [
        0xA700
    ]
    association.release()
    queued(jobs, limits.uploads)


def test_what_is_complete_when_the_service_stops_is_kept(jobs, limits, tmp_path):
    receiver = Receiver(jobs, limits, listen=("127.0.0.1", 0), title="NNSTUDENT", quiet_seconds=60)
    receiver.start()
    whole, partial = Series(), Series()
    first, second = call(receiver), call(receiver)
    sent(first, whole.slices)
    sent(second, partial.slices[:2])
    first.release()
    receiver.stop()
    second.join(timeout=10)
    assert second.is_aborted
    (job,) = Jobs(tmp_path / "jobs", limits).all()
    assert job.origin == {"study": whole.study}


def test_a_taken_port_is_one_line(receiver, jobs, limits):
    with pytest.raises(InputError, match=f"port {receiver.port}: cannot listen for C-STORE there"):
        Receiver(jobs, limits, listen=("127.0.0.1", receiver.port), title="NNSTUDENT")


@pytest.mark.parametrize("name", SYNTAXES)
def test_what_is_accepted_can_be_decoded(name):
    syntax = getattr(pydicom.uid, name)
    assert not syntax.is_encapsulated or pydicom.pixels.get_decoder(syntax).is_available
