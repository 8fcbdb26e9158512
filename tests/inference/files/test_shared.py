"""A folder segmented in parts: the parts together equal one call."""

from __future__ import annotations

import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.cli import main
from nnstudent.errors import InputError
from nnstudent.inference.files.options import Options
from nnstudent.inference.files.segment import segment_files
from nnstudent.inference.files.shared import merge_segmented
from nnstudent.io.parts import Part, parts


def test_merged_parts_equal_one_call(scans, tmp_path, isotropic):
    out, options = tmp_path / "parts", Options(statistics=True)
    (scans / "c_0000.nii.gz").write_bytes((scans / "a_0000.nii.gz").read_bytes()[:2000])
    whole = segment_files(scans, tmp_path / "whole", isotropic, options=options)
    model = open_model(isotropic)
    segment_files(scans, out, isotropic, options=Options(statistics=True, part=Part(2, 2)))
    assert [path.name for path in out.glob("*.nii.gz")] == ["b.nii.gz"]
    assert not (out / "statistics.csv").exists()
    with pytest.raises(InputError, match="part 1/2 has not ended"):
        merge_segmented(scans, out, 2, model=model, options=options)
    done = segment_files(scans, out, isotropic, options=Options(statistics=True, part=Part(1, 2)))
    assert [row["id"] for row in done.rows] == ["a"]
    assert [failure.case for failure in done.failures] == ["c"]
    merged = merge_segmented(scans, out, 2, model=model, options=options)
    assert [row["id"] for row in merged.rows] == [row["id"] for row in whole.rows] == ["a", "b"]
    assert merged.failures == whole.failures
    for name in ("a.nii.gz", "b.nii.gz", "statistics.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with pytest.raises(InputError, match="part 1/2 was run with other options or on other cases"):
        merge_segmented(scans, out, 2, model=model, options=Options(organs=("liver",)))


def test_a_single_image_has_no_parts(scans, tmp_path, isotropic, capsys):
    words = ["segment", str(scans / "a_0000.nii.gz"), "-o", str(tmp_path / "o.nii.gz")]
    assert main([*words, "--model", str(isotropic), "--part", str(parts(2)[0])]) == 2
    assert "expected a folder of images" in capsys.readouterr().err
    assert not (tmp_path / "o.nii.gz").exists()
