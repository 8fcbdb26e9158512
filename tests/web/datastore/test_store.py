from __future__ import annotations

import pytest

from nnstudent.errors import InputError
from nnstudent.web.datastore.scans import ConflictError, NotFoundError
from nnstudent.web.datastore.store import Sent
from tests.io.series import Series
from tests.web.served import FOUND


def test_a_scan_is_segmented_once_until_it_changes(serving):
    store = serving.service.datastore.store
    scan = store.scans.find("p1_ct")
    assert store.result(scan) is None
    job = store.request(scan)
    assert store.request(scan) is job
    path = serving.folder / "p1" / "ct.nii.gz"
    path.write_bytes((serving.folder / "p2" / "ct.nii.gz").read_bytes())
    assert store.request(store.scans.find("p1_ct")) is not job


def test_the_scan_itself_is_never_removed_with_its_job(serving):
    store, jobs = serving.service.datastore.store, serving.service.jobs
    job = store.request(store.scans.find("p1_ct"))
    while job.state != "done":
        pass
    jobs.remove(job)
    assert (serving.folder / "p1" / "ct.nii.gz").is_file()


def test_a_series_is_an_image_once_it_was_segmented(serving):
    Series().write(serving.folder / "p3")
    store = serving.service.datastore.store
    scan = store.scans.find("p3")
    with pytest.raises(InputError, match="has not been segmented"):
        store.image_file(scan)
    assert store.request(scan).kind == "dicom"


def test_what_is_sent_for_no_scan_is_refused(serving, label):
    store = serving.service.datastore.store
    with pytest.raises(NotFoundError):
        store.submit("nobody", Sent(label(FOUND), "anna"))


def test_a_version_that_is_old_is_refused(serving, label):
    store = serving.service.datastore.store
    sent = Sent(label(FOUND), "anna", confirmed=["liver"], version=0)
    assert store.submit("p1_ct", sent).version == 1
    with pytest.raises(ConflictError, match="anna"):
        store.submit("p1_ct", sent)


def test_values_without_a_name_are_refused(serving, label):
    store = serving.service.datastore.store
    with pytest.raises(InputError, match="value 9"):
        store.submit("p1_ct", Sent(label(FOUND), "anna", ids={1: "liver"}))
    with pytest.raises(InputError, match="did you mean spleen"):
        store.submit("p1_ct", Sent(label(FOUND), "anna", ids={1: "splen", 9: "liver"}))
