"""What the worker does with a scan, and what the runner does with the worker."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pydicom
import pytest

from nnstudent.errors import InputError
from nnstudent.inference.labels.stored_probabilities import StoredProbabilities
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.atomic import write_json
from nnstudent.io.nifti import read_labels
from nnstudent.web.job import Job
from nnstudent.web.runner import clean_message
from nnstudent.web.worker import segment_job
from tests.io.series import Series, save

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(threads=1)


def test_progress_is_told_from_reading_to_writing(segmenter, phantom, tmp_path):
    told = []
    made = segment_job(
        phantom, tmp_path, "CT", segmenter, voxels=10**9, progress=lambda *step: told.append(step)
    )
    assert {path.name for path in tmp_path.iterdir()} == set(made["files"])
    assert (told[0], told[-1]) == (("reading", 0, 0), ("writing", 0, 0))
    steps = [step for step in told if step[0] == "windows"]
    assert steps[-1][1] == steps[-1][2] > 0
    assert (tmp_path / "statistics.csv").read_text().splitlines()[1].startswith("CT,liver,")


def test_probabilities_are_kept_where_they_are_asked_for(segmenter, phantom, tmp_path):
    scores, output = tmp_path / "scores.zip", tmp_path / "output"
    output.mkdir()
    made = segment_job(
        phantom, output, "CT", segmenter, voxels=10**9, progress=lambda *step: None, scores=scores
    )
    assert "scores.zip" not in made["files"]
    labels = read_labels(output / "labels.nii.gz").reoriented()
    stored = StoredProbabilities(scores)
    assert stored.grid.matches(labels.grid)
    liver = labels.array == 1
    z, y, x = labels.array.shape
    probability = stored.around("liver", (slice(0, z), slice(0, y), slice(0, x)))
    assert probability[liver].mean() > 200
    assert probability[~liver].mean() < 20


def test_what_cannot_be_written_costs_the_probabilities_only(segmenter, phantom, tmp_path):
    (tmp_path / "no folder").touch()
    made = segment_job(
        phantom,
        tmp_path,
        "CT",
        segmenter,
        voxels=10**9,
        progress=lambda *step: None,
        scores=tmp_path / "no folder" / "scores.zip",
    )
    assert "labels.nii.gz" in made["files"]
    assert any(line.startswith("clicks will go by the image alone") for line in made["warnings"])


def test_what_would_not_fit_is_refused_before_it_is_read(segmenter, phantom, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "nnstudent.inference.files.scan.read_scan", lambda *args, **kwargs: pytest.fail("was read")
    )
    with pytest.raises(InputError, match="million voxels; expected at most 0"):
        segment_job(phantom, tmp_path, "CT", segmenter, voxels=1000, progress=lambda *step: None)


def test_a_series_that_nothing_can_refer_to_gets_all_but_the_dicom_seg(segmenter, tmp_path):
    series = Series(stored=np.full((6, 40, 40), 1024), spacing=(4.0, 4.0, 5.0))
    for number, header in enumerate(series.slices):
        header.FrameOfReferenceUID = f"1.2.3.{number}"
        (tmp_path / "input").mkdir(exist_ok=True)
        save(header, tmp_path / "input" / f"{number}.dcm")
    made = segment_job(
        tmp_path / "input", tmp_path, "CT", segmenter, voxels=10**9, progress=lambda *step: None
    )
    assert "labels.nii.gz" in made["files"]
    assert "labels.seg.dcm" not in made["files"]
    assert any(line.startswith("no DICOM-SEG: ") for line in made["warnings"])


def test_uids_that_a_series_lacks_are_derived_with_a_warning(segmenter, phantom_series, tmp_path):
    (tmp_path / "input").mkdir()
    for path in phantom_series.iterdir():
        header = pydicom.dcmread(path)
        del header.FrameOfReferenceUID
        header.save_as(tmp_path / "input" / path.name)
    made = segment_job(
        tmp_path / "input", tmp_path, "CT", segmenter, voxels=10**9, progress=lambda *step: None
    )
    assert any(
        "FrameOfReferenceUID is missing: derived from the content" in line
        for line in made["warnings"]
    )
    assert pydicom.dcmread(tmp_path / "labels.seg.dcm").FrameOfReferenceUID.startswith("2.25.")


def test_of_two_series_one_is_taken_and_the_other_told(segmenter, phantom_series, tmp_path):
    for path in phantom_series.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    Series(number=9).write(tmp_path)
    made = segment_job(
        tmp_path, tmp_path, "CT", segmenter, voxels=10**9, progress=lambda *step: None
    )
    assert any("passed over 9" in line for line in made["warnings"])
    slices = len(list(phantom_series.iterdir()))
    assert (
        len(
            pydicom.dcmread(tmp_path / "labels.seg.dcm")
            .ReferencedSeriesSequence[0]
            .ReferencedInstanceSequence
        )
        <= slices
    )


def test_a_message_names_no_folder_of_the_service(tmp_path):
    job = Job("0" * 32, tmp_path / "jobs" / "x", "me", "CT abdomen", "image", 0.0)
    job.input.mkdir(parents=True)
    (job.input / "00000.nii.gz").touch()
    assert (
        clean_message(f"{job.source}: cannot be\n read (00000.nii.gz)", job)
        == "CT abdomen: cannot be read (CT abdomen)"
    )
    job.kind = "dicom"
    assert (
        clean_message(f"{job.input / '00007.dcm'}: damaged DICOM; {job.input}: no series", job)
        == "00007.dcm: damaged DICOM; CT abdomen: no series"
    )


def test_a_message_about_a_dicom_file_has_the_name_that_its_sender_knows(tmp_path, caplog):
    job = Job("0" * 32, tmp_path / "x", "me", "CT abdomen", "dicom", 0.0)
    job.input.mkdir(parents=True)
    write_json(job.folder / "names.json", {"00007.dcm": "CT/IM 8"})
    assert (
        clean_message(f"{job.input / '00007.dcm'}: damaged; 00007.dcm, 00008.dcm (other)", job)
        == "CT/IM 8: damaged; CT/IM 8, 00008.dcm (other)"
    )
    (job.folder / "names.json").write_text("[" * 100_000)
    assert clean_message("00007.dcm", job) == "00007.dcm"


def test_a_guess_about_geometry_is_told(segmenter, phantom, tmp_path):
    image = nib.load(phantom)
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.Nifti1Image(np.asarray(image.dataobj), None, image.header).to_filename(
        tmp_path / "guess.nii.gz"
    )
    (tmp_path / "out").mkdir()
    made = segment_job(
        tmp_path / "guess.nii.gz",
        tmp_path / "out",
        "CT",
        segmenter,
        voxels=10**9,
        progress=lambda *step: None,
    )
    assert any("orientation" in line or "sform" in line for line in made["warnings"]), made[
        "warnings"
    ]
