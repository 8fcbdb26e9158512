"""Files and outputs that cannot be used: each is one line, and the other cases are done."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nnstudent.cli import main
from nnstudent.errors import OutputError
from nnstudent.inference.files.segment import segment_files
from nnstudent.inference.model_runner import ModelRunner
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import write_image
from tests.inference.conftest import blobs
from tests.reports import read_report


def broken_files(folder: Path) -> dict[str, str]:
    """Files that cannot be used, and a word of what must be said of each."""
    good = blobs((8, 10, 12), (5.0, 4.0, 4.0))
    affine = good.grid.affine
    write_image(folder / "whole.nii.gz", good)
    data = (folder / "whole.nii.gz").read_bytes()
    (folder / "whole.nii.gz").unlink()
    (folder / "truncated.nii.gz").write_bytes(data[: len(data) // 2])
    (folder / "empty.nii.gz").write_bytes(b"")
    (folder / "text.nii.gz").write_text("not an image")
    nan = good.array.astype(np.float32)
    nan[0, 0, 0] = np.nan
    arrays = {
        "nan": nan.T,
        "flat": good.array[0].T,
        "moving": np.stack([good.array.T] * 3, axis=-1),
    }
    for name, array in arrays.items():
        nib.save(nib.Nifti1Image(array, affine), folder / f"{name}.nii.gz")
    nib.save(
        nib.Nifti1Image(good.array.T, np.diag([400.0, 400.0, 400.0, 1.0])), folder / "huge.nii.gz"
    )
    words = ("damaged", "is empty", "cannot be opened", "NaN", "2D", "4D", "spacing")
    return dict(zip(("truncated", "empty", "text", *arrays, "huge"), words, strict=True))


def test_broken_files_are_named_and_the_others_done(scans, tmp_path, isotropic, capfd):
    expected = broken_files(scans)
    code = main(
        [
            "segment",
            str(scans),
            "-o",
            str(tmp_path / "out"),
            "--model",
            str(isotropic),
            "--report",
            str(tmp_path / "r.json"),
        ]
    )
    assert code == 1
    errors = capfd.readouterr().err
    report = read_report(tmp_path / "r.json", "segment")
    reasons = {failure["id"]: failure["reason"] for failure in report["failures"]}
    assert set(reasons) == set(expected)
    for name, word in expected.items():
        assert word in reasons[name]
        assert "\n" not in reasons[name]
        assert f"failed: {name}: " in errors
    assert "Traceback" not in errors
    # Not every image has nnU-Net's _0000, so that it is a part of the names.
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a_0000.nii.gz",
        "b_0000.nii.gz",
    ]
    assert [case["id"] for case in report["cases"]] == ["a_0000", "b_0000"]


@pytest.mark.parametrize("kind", ["empty", "truncated", "text", "nan", "flat", "moving", "huge"])
def test_one_broken_image_is_one_line_and_exit_code_2(tmp_path, isotropic, kind, capfd):
    said = broken_files(tmp_path)[kind]
    out = tmp_path / "out" / "o.nii.gz"
    report = tmp_path / "r.json"
    assert (
        main(
            [
                "segment",
                str(tmp_path / f"{kind}.nii.gz"),
                "-o",
                str(out),
                "--model",
                str(isotropic),
                "--report",
                str(report),
            ]
        )
        == 2
    )
    told, errors = capfd.readouterr()
    assert told == ""
    (line,) = errors.splitlines()
    assert said in line
    assert not out.parent.exists()
    assert json.loads(report.read_text())["failures"][0]["id"] == kind


def test_a_folder_of_which_no_image_can_be_used(tmp_path, isotropic, capfd):
    folder = tmp_path / "scans"
    folder.mkdir()
    expected = broken_files(folder)
    assert (
        main(["segment", str(folder), "-o", str(tmp_path / "out"), "--model", str(isotropic)]) == 2
    )
    told, errors = capfd.readouterr()
    assert told == f"0 segmented, 0 skipped, {len(expected)} failed\n"
    assert errors.count("failed: ") == len(expected)
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_said_before_the_work(
    scans, tmp_path, isotropic, capfd
):
    (tmp_path / "file").write_text("in the way")
    for output in (tmp_path / "file" / "o.nii.gz", tmp_path / "file" / "deeper" / "o.nii.gz"):
        code = main(
            ["segment", str(scans / "a_0000.nii.gz"), "-o", str(output), "--model", str(isotropic)]
        )
        assert code == 2
        errors = capfd.readouterr().err.splitlines()
        assert len(errors) == 1
        assert "cannot be written" in errors[0]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_without_permission(scans, tmp_path, segmenter):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="may write"):
        segment_files(scans, tmp_path / "locked", segmenter)


def test_nothing_half_written_remains(scans, tmp_path, segmenter, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nibabel.save", full)
    with pytest.raises(OutputError, match="No space left"):
        segment_files(scans, tmp_path / "out", segmenter)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "error", [MemoryError("cannot allocate"), RuntimeError("bad alloc\nin the engine")]
)
def test_running_out_of_memory_fails_one_case(scans, tmp_path, isotropic, monkeypatch, error):
    segmenter = Segmenter(isotropic)
    engine = segmenter.engine_of(0, 0)

    class Once:
        name, precision, restores_on = engine.name, engine.precision, None
        head, calls = engine.head, 0

        def __call__(self, window):
            self.calls += 1
            if self.calls == 1:
                raise error
            return engine.features(window)

        features = __call__

    once = Once()
    monkeypatch.setattr(ModelRunner, "engine_of", lambda self, network, member: once)
    result = segment_files(scans, tmp_path / "out", segmenter)
    (failure,) = result.failures
    assert failure.case == "a"
    assert failure.reason.startswith(f"{scans / 'a_0000.nii.gz'}: ")
    assert " ".join(str(error).split()) in failure.reason
    assert [row["id"] for row in result.rows] == ["b"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--organs", "heart"], "--organs: no class 'heart'; expected some of"),
        (["--organs", "lever"], "--organs: no class 'lever'; did you mean liver?"),
        (["--device", "cuda", "--engine", "openvino"], "OpenVINO has"),
        (["--model", "nowhere"], "no such folder"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    scans, tmp_path, isotropic, capfd, arguments, says
):
    given = [
        "segment",
        str(scans),
        "-o",
        str(tmp_path / "out"),
        "--model",
        str(isotropic),
        *arguments,
    ]
    assert main(given) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert says in line
    assert not (tmp_path / "out").exists()
