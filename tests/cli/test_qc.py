"""The verb ``qc``, from scans and corrected labels to a page with the worst scan first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.cli.main import main
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import write_image, write_labels
from nnstudent.quality.fit import LEAST_SCANS
from nnstudent.volume import Volume
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder
from tests.reports import read_report


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, scans, and label maps that differ more or less from what the bundle finds."""
    folder = tmp_path_factory.mktemp("qc")
    model = make_folder(folder / "model", ISOTROPIC)
    export(model, folder / "bundle", torch_weights=False)
    segment = Segmenter(folder / "bundle", precision="auto", windows="guided", threads=1)
    rng = np.random.default_rng(0)
    for number in range(LEAST_SCANS):
        image = blobs((20, 26, 26), (6.0, 6.0, 6.0), seed=number)
        truth = np.roll(segment(image).labels.array, rng.integers(0, 3), axis=0)
        write_image(folder / "scans" / f"{number:02}.nii.gz", image)
        write_labels(folder / "corrected" / f"{number:02}.nii.gz", Volume(truth, image.grid))
    return folder


def test_calibrate_then_sort(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans, report = work / "scans", work / "qc.json"
    calibrated, results = work / "calibrated", work / "results"
    model = ["--model", str(work / "bundle")]

    assert main(["qc", str(scans), "-o", str(results), *model]) == 2
    assert "has no calibration of its expected Dice" in capsys.readouterr().err
    assert not results.exists()

    how = ["--calibrate", str(work / "corrected"), "--report", str(report), "--threads", "1"]
    assert main(["qc", str(scans), *how, "-o", str(calibrated), *model]) == 0
    assert read_report(report, "qc")["scans"] == LEAST_SCANS
    opened = open_model(calibrated)
    assert opened.quality is not None
    assert opened.hash == open_model(work / "bundle").hash, "the labels stay the same"
    assert "- truth: label maps in corrected" in (calibrated / "card.md").read_text("utf-8")

    few = work / "few"
    few.mkdir()
    for number in range(2):
        (few / f"{number:02}.nii.gz").symlink_to(scans / f"{number:02}.nii.gz")
    argv = ["qc", str(few), "-o", str(results), "--model", str(calibrated), "--threads", "1"]
    assert main([*argv, "--report", str(report)]) == 0
    cases = read_report(report, "qc")["cases"]
    assert [case["id"] for case in cases] != []
    assert all(case["organs"] for case in cases)
    page = (results / "qc.html").read_text("utf-8")
    assert page.count("<article>") == 2
    assert (results / "qc.csv").read_text().startswith("case,fail,look,")
    capsys.readouterr()
    assert main(["qc", str(results), "--next", "1", "--report", str(report)]) == 0
    assert len(read_report(report, "qc")["next"]) == 1
    assert capsys.readouterr().out.splitlines()[0].startswith(cases[0]["id"])


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["none"], "none: no such folder; expected one that nnstudent segment wrote"),
        (["none", "-o", "out"], "none: no such folder; expected a folder of scans"),
        (["{scans}", "--calibrate", "{corrected}"], "--calibrate without -o; expected the folder"),
        (
            ["{corrected}", "--calibrate", "{corrected}", "-o", "out"],
            "no image in this folder; expected files that end in .nii.gz",
        ),
    ],
)
def test_bad_input_is_one_line(
    work: Path, capsys: pytest.CaptureFixture[str], words: list[str], error: str
) -> None:
    filled = [word.format(scans=work / "scans", corrected=work / "corrected") for word in words]
    assert main(["qc", *filled]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert error in lines[0]
