"""The structured report among the output formats."""

from __future__ import annotations

import pytest

from nnstudent.inference.files.options import Options
from nnstudent.inference.files.segment import segment_files

hd = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")


@pytest.mark.parametrize("with_seg", [True, False])
def test_a_report_has_the_volumes_and_refers_to_the_segmentation(
    tmp_path, study, segmenter, with_seg
):
    formats = ("dicom-sr", "dicom-seg") if with_seg else ("dicom-sr",)
    result = segment_files(study, tmp_path / "out", segmenter, options=Options(formats=formats))
    assert not result.failures
    content = hd.sr.srread(tmp_path / "out" / "study.sr.dcm").content
    if with_seg:
        groups = content.get_volumetric_roi_measurement_groups()
        seg = hd.seg.segread(tmp_path / "out" / "study.seg.dcm")
        found = {group.referenced_segment.referenced_sop_instance_uid for group in groups}
        assert found == {seg.SOPInstanceUID}
    else:
        groups = content.get_image_measurement_groups()
    organs = result.rows[0]["organs"]
    volumes = {
        group.tracking_identifier.lower().replace(" ", "_"): group.get_measurements()[0].value
        for group in groups
    }
    assert volumes
    assert volumes == {
        name: facts["volume_ml"] for name, facts in organs.items() if facts["volume_ml"]
    }


def test_a_report_does_not_refer_to_a_segmentation_that_was_not_written(
    tmp_path, study, segmenter, monkeypatch
):
    from nnstudent.inference.files import formats

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(formats, "write_seg", broken)
    options = Options(formats=("dicom-seg", "dicom-sr"))
    result = segment_files(study, tmp_path / "out", segmenter, options=options)
    assert [("disk full" in failure.reason) for failure in result.failures] == [True]
    content = hd.sr.srread(tmp_path / "out" / "study.sr.dcm").content
    assert content.get_image_measurement_groups()
    assert not content.get_volumetric_roi_measurement_groups()
