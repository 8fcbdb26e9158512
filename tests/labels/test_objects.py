"""Label maps that exist, written as DICOM objects in the study of their series."""

from __future__ import annotations

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")

from nnstudent.cli.main import main  # noqa: E402
from nnstudent.errors import InputError  # noqa: E402
from nnstudent.io.dicom.series import read_series  # noqa: E402
from nnstudent.io.nifti import read_labels, write_labels  # noqa: E402
from nnstudent.io.record import file_hash  # noqa: E402
from nnstudent.labels.relabel import relabel  # noqa: E402
from nnstudent.taxonomy import flare23  # noqa: E402
from tests.io.dicom.objects import labels_of  # noqa: E402
from tests.io.series import ORIENTATIONS, anatomical  # noqa: E402


@pytest.fixture
def study(tmp_path):
    """A series in a folder, and a corrected label map of it in another orientation."""
    folder = anatomical(*ORIENTATIONS[0]).write(tmp_path / "study")
    labels = labels_of(read_series(folder))
    turned = "LPS" if labels.grid.axcodes != "LPS" else "RAS"
    write_labels(tmp_path / "corrected.nii.gz", labels.reoriented(turned))
    return folder, labels


@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
def test_a_corrected_label_map_goes_back_to_its_study(tmp_path, study, kind, capsys):
    folder, labels = study
    source = tmp_path / "corrected.nii.gz"
    argv = ["relabel", str(source), "-o", str(tmp_path / "new.nii.gz"), "--like", str(folder)]
    assert main([*argv, "--dicom", kind]) == 0
    assert "1 case, 2 files" in capsys.readouterr().out
    written = tmp_path / f"new.{kind}.dcm"
    found = pydicom.dcmread(written)
    assert found.StudyInstanceUID == pydicom.dcmread(next(folder.iterdir())).StudyInstanceUID
    assert found.DeviceSerialNumber == file_hash(source)
    said = {
        *(item.SegmentAlgorithmType for item in found.get("SegmentSequence", ())),
        *(item.ROIGenerationAlgorithm for item in found.get("StructureSetROISequence", ())),
    }
    assert said == {"SEMIAUTOMATIC"}
    # Read back, it is the label map.
    back = tmp_path / "back.nii.gz"
    assert main(["relabel", str(written), "-o", str(back), "--like", str(folder)]) == 0
    again = read_labels(back)
    assert np.array_equal(again.array, labels.array)
    assert again.grid.matches(labels.grid)


def test_each_case_finds_its_own_series(tmp_path, study):
    folder, _ = study
    (tmp_path / "series").mkdir()
    folder.rename(tmp_path / "series" / "a")
    (tmp_path / "labels").mkdir()
    for name in ("a", "b"):
        copy = tmp_path / "labels" / f"{name}.nii.gz"
        copy.write_bytes((tmp_path / "corrected.nii.gz").read_bytes())
    done = relabel(
        [tmp_path / "labels"],
        tmp_path / "out",
        taxonomy=flare23(),
        dicom="seg",
        images=tmp_path / "series",
    )
    assert (tmp_path / "out" / "a.seg.dcm") in done.files["a"]
    assert [failure.case for failure in done.failures] == ["b"]
    assert "has no image of b" in done.failures[0].reason


def test_what_cannot_be_written_is_said_before_the_work(tmp_path, study, capsys):
    folder, labels = study
    argv = ["relabel", str(tmp_path / "corrected.nii.gz"), "-o", str(tmp_path / "n.nii.gz")]
    assert main([*argv, "--dicom", "seg"]) == 2
    assert "--dicom seg without --like" in capsys.readouterr().err
    assert not (tmp_path / "n.nii.gz").exists()
    with pytest.raises(InputError, match="expected one of seg, rtstruct"):
        relabel(
            [tmp_path / "corrected.nii.gz"], tmp_path / "n.nii.gz", taxonomy=flare23(), dicom="sr"
        )
    image = tmp_path / "image.nii.gz"
    image.write_bytes((tmp_path / "corrected.nii.gz").read_bytes())
    assert main([*argv, "--dicom", "seg", "--like", str(image)]) == 2
    assert "is no DICOM series" in capsys.readouterr().err
    z, y, x = labels.grid.shape
    cut = labels.cropped((slice(1, z), slice(0, y), slice(0, x)))
    write_labels(tmp_path / "corrected.nii.gz", cut)
    assert main([*argv, "--dicom", "seg", "--like", str(folder)]) == 2
    assert "is on another grid than the series" in capsys.readouterr().err
