from __future__ import annotations

from pathlib import Path

from nnstudent.web.datastore.learning import Training
from nnstudent.web.datastore.scans import Scan
from nnstudent.web.monailabel.described import sample, train_stats, train_status


def test_a_training_is_told_in_the_protocol_s_words():
    training = Training(3, "anna", progress=("student, fold 0", 4, 9), steps=(4, 9))
    status = train_status(training)
    assert (status["status"], status["end_ts"]) == ("RUNNING", None)
    assert status["details"] == ["student, fold 0: 4 of 9"]
    assert train_stats(training) == {"epoch": 4, "total_epochs": 9}
    training.state, training.ended, training.why = "failed", training.began + 5, "no memory"
    assert train_status(training)["status"] == "ERROR"
    assert train_status(training)["details"][-1] == "no memory"
    assert train_stats(training)["total_time"] == "5 s"


def test_a_sample_has_no_path_and_a_name_to_save_it_by():
    scan = Scan("p1_ct", "p1", Path("/secret/p1/ct.nii.gz"), "image")
    found = sample(scan, strategy="first", by="anna")
    assert found["name"] == "p1_ct.nii.gz"
    assert "secret" not in str(found)
    series = Scan("p2", "p2", Path("/secret/v1.2"), "dicom", "1.2.3")
    assert sample(series, strategy="first", by="anna")["name"] == "p2.nii.gz"
